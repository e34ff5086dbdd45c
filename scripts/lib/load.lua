-- SPDX-License-Identifier: MIT
-- load.lua - wrk's summary as one line of JSON, behind the word RESULT
-- Latencies in microseconds, as wrk keeps them; durations in seconds.
--
-- wrk corrects its histogram for coordinated omission before a script sees it: for
-- each latency n of at least twice the mean interval I of a connection's requests it
-- adds samples at n - I, n - 2I, ... above I.  Nobody waited for those requests: they
-- were never sent.  From the longest latency down, what was added is known, so the
-- latencies that requests really had can be told apart exactly; both are printed.

-- wrk does not tell its scripts how many connections it was asked for.
local connections = tonumber(os.getenv("NOM_CONNECTIONS"))

-- Requests sent together on each connection; wrk takes one latency for all of them.
local pipeline = tonumber(os.getenv("NOM_PIPELINE") or "1")

-- Bytes that each request uploads instead of asking for a file.
local upload = tonumber(os.getenv("NOM_UPLOAD") or "0")

if upload > 0 then
	wrk.method = "PUT"
	wrk.body = string.rep("u", upload)
end

if pipeline > 1 then
	local text

	function init(args)
		local requests = {}
		for i = 1, pipeline do
			requests[i] = wrk.format()
		end
		text = table.concat(requests)
	end

	function request()
		return text
	end
end

-- {value, count} from low to high, without what the correction added
local function observed(latency, interval)
	local added, samples = {}, {}
	for i = #latency, 1, -1 do
		local value, count = latency(i)
		local own = count - (added[value] or 0)
		if own > 0 then
			table.insert(samples, 1, { value, own })
			if value >= 2 * interval then
				local m = value - interval
				while m > interval do
					added[m] = (added[m] or 0) + own
					m = m - interval
				end
			end
		end
	end
	return samples
end

local function figures(samples)
	local total, sum, squares = 0, 0, 0
	for _, s in ipairs(samples) do
		total, sum = total + s[2], sum + s[1] * s[2]
	end
	local mean = sum / total
	for _, s in ipairs(samples) do
		squares = squares + s[2] * (s[1] - mean) ^ 2
	end
	local function percentile(p)
		local seen = 0
		for _, s in ipairs(samples) do
			seen = seen + s[2]
			if seen >= total * p / 100 then
				return s[1]
			end
		end
	end
	return string.format('"mean":%.3f,"sd":%.3f,"p50":%d,"p90":%d,"p99":%d,"p999":%d', mean, math.sqrt(squares / math.max(total - 1, 1)),
		percentile(50), percentile(90), percentile(99), percentile(99.9)), total
end

function done(summary, latency, requests)
	local e = summary.errors
	local text, total = '"mean":0,"sd":0,"p50":0,"p90":0,"p99":0,"p999":0', 0
	if summary.requests > 0 and #latency > 0 then
		local interval = math.floor(summary.duration / math.max(math.floor(summary.requests / connections), 1))
		text, total = figures(observed(latency, interval))
	end
	io.write(string.format(
		'RESULT {"requests":%d,"bytes":%d,"seconds":%.6f,"errors":%d,"samples":%d,%s,"max":%d,"corrected":{"mean":%.3f,"sd":%.3f,"p50":%d,"p90":%d,"p99":%d,"p999":%d}}\n',
		summary.requests, summary.bytes, summary.duration / 1e6,
		e.connect + e.read + e.write + e.status + e.timeout, total, text, latency.max,
		latency.mean, latency.stdev, latency:percentile(50.0), latency:percentile(90.0),
		latency:percentile(99.0), latency:percentile(99.9)))
end
