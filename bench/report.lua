-- Told "POST", wrk sends a small body. It prints latencies for people; this prints them for the table.
init = function(arguments)
  if arguments[1] == "POST" then
    wrk.method = "POST"
    wrk.body = string.rep("x", 64)
  end
end

done = function(summary, latency, requests)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status, lost))
end
