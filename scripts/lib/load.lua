-- SPDX-License-Identifier: MIT
-- load.lua - wrk's summary as one line of JSON, behind the word RESULT
-- Latencies in microseconds, as wrk keeps them; durations in seconds.
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'RESULT {"requests":%d,"bytes":%d,"seconds":%.6f,"errors":%d,"mean":%.3f,"sd":%.3f,"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d}\n',
		summary.requests, summary.bytes, summary.duration / 1e6,
		e.connect + e.read + e.write + e.status + e.timeout,
		latency.mean, latency.stdev, latency:percentile(50.0), latency:percentile(90.0),
		latency:percentile(99.0), latency:percentile(99.9), latency.max))
end
