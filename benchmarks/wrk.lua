-- wrk: send the requests of a traffic file in turn, report as one line of JSON.
-- Format of the file: benchmarks/traffic.py.  WRK_TRAFFIC names it.
local requests, next_request = {}, 0

function init(_)
  local file = assert(io.open(os.getenv("WRK_TRAFFIC"), "rb"))
  local line = file:read("*l")
  while line do
    requests[#requests + 1] = file:read(tonumber(line))
    line = file:read("*l")
  end
  file:close()
end

function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'WRK {"requests": %d, "seconds": %.6f, "refused": %d, "lost": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
