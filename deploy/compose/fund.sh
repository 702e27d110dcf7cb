#!/usr/bin/env bash
# Mine, fund bob and open a channel from bob to alice, so that bob can pay. Run once, after
# `docker compose --profile regtest up -d`. Then: deploy/compose/fund.sh pay INVOICE prints the preimage.
set -euo pipefail
lncli() { docker compose --profile regtest exec -T "$1" lncli --lnddir=/lnd --network=regtest "${@:2}"; }
bitcoin() { docker compose --profile regtest exec -T bitcoind bitcoin-cli -regtest -rpcuser=regtest -rpcpassword=regtest "$@"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

if [ "${1:-}" = pay ]; then
  lncli bob payinvoice --force --json "$2" | field payment_preimage
  exit
fi
address=$(lncli bob newaddress p2wkh | field address)
bitcoin generatetoaddress 110 "$address" >/dev/null
alice=$(lncli alice getinfo | field identity_pubkey)
until lncli bob connect "$alice@alice:9735" >/dev/null 2>&1 || lncli bob listpeers | grep -q "$alice"; do sleep 1; done
until lncli bob openchannel --node_key="$alice" --local_amt=1000000 >/dev/null 2>&1; do sleep 1; done
bitcoin generatetoaddress 6 "$address" >/dev/null
until lncli bob listchannels --active_only | grep -q chan_id; do sleep 1; done
echo "bob can pay alice: deploy/compose/fund.sh pay INVOICE"
