"""From a request's bytes to the upstream and back: paths, routes, header rules, the upstream pool, forwarding."""
