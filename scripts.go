package aside

import "github.com/redis/go-redis/v9"

// scripts are all the ways in which the library writes. Each is given one key, KEYS[1]: the entry, or for the last of
// them, one of the keys that tags.go tells about; one is given two of those.
var scripts = [...]script{
	// ARGV: nonce, life of the lease in ms, the document that the caller could not use ('' for none).
	//
	//	lease     of the caller, with his nonce: the entry was missing, a returned lease, or still that document
	//	document  that the entry holds instead: a value, or another's lease, which is marked as waited for
	//
	// A lease without a TTL was not made by this library and would never end: it is replaced. Most entries are missing, so
	// that is tried first. A server that is out of memory refuses to try, but still has a document for who asks.
	scriptLease: newTimedScript(`
		local lease = '{"lease":"' .. ARGV[1] .. '-' .. stamp .. '"}'
		local set = redis.pcall('SET', KEYS[1], lease, 'PX', ARGV[2], 'NX')
		if set and set.ok then return lease end
		local doc = redis.call('GET', KEYS[1])
		if doc and doc ~= ARGV[3] then
			if doc:sub(1, 10) ~= '{"lease":"' then return doc end
			if doc:sub(-17) ~= ',"returned":true}' and redis.call('PTTL', KEYS[1]) >= 0 then
				if doc:sub(-2) == '"}' then
					redis.pcall('SET', KEYS[1], doc:sub(1, -2) .. ',"waited":true}', 'KEEPTTL')
				end
				return doc
			end
		end
		redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
		return lease`),

	// ARGV: how the document begins that the load started from, the new document, where in it the server's time belongs, its
	// life in ms, until when it may be stored, in ms since 1970.
	//
	//	1  stored
	//	0  refused: that document is gone, or it is too late
	//
	// The time is written into the document once it is stored: Redis' Lua hashes every byte of each string that it makes, so
	// to join one of that size would double what a fill takes.
	scriptFill: newTimedScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		if ms > tonumber(ARGV[5]) then return 0 end
		redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
		redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)
		return 1`),

	// ARGV: how the lease begins, its new life in ms.
	//
	//	1  renewed
	//	0  it is gone
	scriptRenew: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`),

	// ARGV: how the document begins that the load started from, for how many ms those who wait are told, or 0: then one of
	// them loads, and not each for itself.
	//
	//	1  removed, or left as a returned lease to those who wait for it
	//	0  it is gone
	scriptRelease: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		if tonumber(ARGV[2]) > 0 and redis.call('GET', KEYS[1]) == ARGV[1] .. ',"waited":true}' then
			local set = redis.pcall('SET', KEYS[1], ARGV[1] .. ',"returned":true}', 'PX', ARGV[2])
			if not set.err then return 1 end
		end
		redis.call('DEL', KEYS[1]) -- which a server that is out of memory does, too
		return 1`),

	// ARGV: how the document begins, where its claim stands, for how many ms to claim it, and '' to claim it only if
	// nobody has, or what to write after the claim.
	//
	//	ms  claimed then, in ms since 1970
	//	0   it is gone, or somebody else's
	//
	// SETRANGE leaves the TTL as it is.
	scriptClaim: newTimedScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		local at = tonumber(ARGV[2])
		if ARGV[4] == '' and (tonumber(redis.call('GETRANGE', KEYS[1], at, at + 12)) or 0) > ms then return 0 end
		redis.call('SETRANGE', KEYS[1], at, string.format('%13.0f', ms + ARGV[3]) .. ARGV[4])
		return ms`),

	// ARGV: a holder's token, for how many ms from now it holds the entry (0 ends that), for how many ms from now nothing
	// may be cached because replicas of the database lag (0 for none): the holder "lag", who is never shortened.
	//
	//	1   done
	//	-1  there is a hold in a format that this version does not know, which stays as it is
	//
	// Whatever else there was is removed, always: a server that is out of memory does that, and lets a script go on that has
	// written, so that rows can be written. A hold that is gone when it ends, evicted or deleted, has let loads begin that saw
	// the row from before: that is why ending it removes them. What the last holder leaves is no key.
	scriptHold: newTimedScript(`
		local doc = redis.call('GET', KEYS[1])
		local holders, last, lag = {}, 0, 0
		local function add(token, expiry)
			holders[#holders + 1] = cjson.encode(token) .. ':' .. string.format('%.0f', expiry)
			last = math.max(last, expiry)
		end
		if doc and doc:sub(1, 8) == '{"hold":' then
			local ok, decoded = pcall(cjson.decode, doc)
			if not ok or type(decoded.hold) ~= 'table' or next(decoded.hold) == nil then return -1 end
			for field in pairs(decoded) do
				if field ~= 'hold' then return -1 end
			end
			for token, expiry in pairs(decoded.hold) do
				if type(token) ~= 'string' or type(expiry) ~= 'number' then return -1 end
				if token == 'lag' then
					lag = expiry
				elseif token ~= ARGV[1] and expiry > ms then
					add(token, expiry)
				end
			end
		end
		redis.call('DEL', KEYS[1])
		if tonumber(ARGV[2]) > 0 then add(ARGV[1], ms + ARGV[2]) end
		if tonumber(ARGV[3]) > 0 then lag = math.max(lag, ms + ARGV[3]) end
		if lag > ms then add('lag', lag) end
		if last > 0 then
			redis.call('SET', KEYS[1], '{"hold":{' .. table.concat(holders, ',') .. '}}', 'PX', string.format('%.0f', last - ms))
		end
		return 1`),

	//	1  removed
	//	0  there was nothing, or a hold, which stays: under a hold nothing is cached
	scriptInvalidate: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' then return 0 end
		return redis.call('DEL', KEYS[1])`),

	// The journal, and as KEYS[2] the held tags. ARGV: nonce, life of the journal in ms.
	//
	//	{1, id nonce tags}  of the last record of the journal (there is one now), and the tags that are held
	//
	// It is one script because what is held must not be read before the record is.
	scriptMark: newTimedScript(`
		local mark
		local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
		if last then
			mark = {last[1], last[2][2]}
		else
			mark = {redis.call('XADD', KEYS[1], '*', 'nonce', ARGV[1]), ARGV[1]}
			redis.call('PEXPIRE', KEYS[1], ARGV[2])
		end
		for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', ms), '+inf')) do
			mark[#mark + 1] = member:match(' (.*)')
		end
		return {1, table.concat(mark, ' ')}`),

	// The journal. ARGV: nonce, life of the journal in ms, how many records to keep at least, 'tag' or 'all', and one tag
	// after each 'tag'.
	//
	//	1  recorded
	//
	// The first PEXPIRE is for a server that is out of memory, see scriptHold.
	scriptRecord: newScript(`
		redis.call('PEXPIRE', KEYS[1], ARGV[2])
		redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'nonce', ARGV[1], unpack(ARGV, 4))
		redis.call('PEXPIRE', KEYS[1], ARGV[2])
		return 1`),

	// The journal. ARGV: the id and the nonce of a record.
	//
	//	{1, tags}  those that later records are about, with spaces between them
	//	{0, ''}    that record is gone, or a later one is about all tags
	scriptSince: newScript(`
		local records = redis.call('XRANGE', KEYS[1], ARGV[1], '+')
		if not records[1] or records[1][1] ~= ARGV[1] or records[1][2][2] ~= ARGV[2] then return {0, ''} end
		local tags = {}
		for i = 2, #records do
			local fields = records[i][2]
			for j = 3, #fields, 2 do
				if fields[j] == 'all' then return {0, ''} end
				tags[#tags + 1] = fields[j + 1]
			end
		end
		return {1, table.concat(tags, ' ')}`),

	// The held tags. ARGV: a holder's token, for how many ms from now it holds the tags (0 ends that), for how many ms from
	// now the holder "lag" does, who is never shortened (0 for not), tags.
	//
	//	1  done
	//	2  done, and the holder has not held one of them before
	scriptHoldTags: newTimedScript(`
		redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
		local function hold(token, tag, life)
			local member = token .. ' ' .. tag
			local expiry = math.max(ms + life, token == 'lag' and tonumber(redis.call('ZSCORE', KEYS[1], member)) or 0)
			return redis.call('ZADD', KEYS[1], string.format('%.0f', expiry), member)
		end
		local done = 1
		for i = 4, #ARGV do
			if tonumber(ARGV[2]) > 0 then
				done = math.max(done, 1 + hold(ARGV[1], ARGV[i], ARGV[2]))
			elseif ARGV[1] ~= 'lag' then
				redis.call('ZREM', KEYS[1], ARGV[1] .. ' ' .. ARGV[i])
			end
			if tonumber(ARGV[3]) > 0 then hold('lag', ARGV[i], ARGV[3]) end
		end
		local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
		if last[2] then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last[2] - ms)) end
		return done`),

	// The index of a tag. ARGV: entries, each with for how many ms from now it may be there.
	//
	//	1  done
	//
	// The score of an entry is when it will have expired, in us since 1970. It is another one each time that the entry is
	// added, even if the clock stands still: it grows as long as the entry is there, and ends in a number that is counted
	// for the index. The count is the score of the member '', below those of entries.
	scriptIndex: newTimedScript(`
		local us = now[1] * 1000000 + now[2]
		redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', us))
		local longest = redis.call('PTTL', KEYS[1])
		for i = 1, #ARGV, 2 do
			local count = -redis.call('ZINCRBY', KEYS[1], -1, '')
			local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0)
			local expiry = (math.ceil(us / 1000) + ARGV[i + 1]) * 1000 + count % 1000
			redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(expiry, before + 1)), ARGV[i])
			longest = math.max(longest, ARGV[i + 1] + 1000)
		end
		redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest))
		return 1`),

	// The index of a tag. ARGV: entries, each with its score when it was read.
	//
	//	1  those that have not been added again are removed
	scriptUnindex: newScript(`
		for i = 1, #ARGV, 2 do
			local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
			if score and tonumber(score) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
		end
		return 1`),
}

// A script writes in one way to one entry, or to several that the same server owns.
type script struct{ one, many *redis.Script }

// newScript makes a script from what it does to one key.
func newScript(source string) script { return scriptAfter("", source) }

// newTimedScript is newScript for a script that needs the server's time.
func newTimedScript(source string) script { return scriptAfter(scriptTime, source) }

// scriptTime asks for the server's time, once for all keys: as now, which is how TIME answers, as ms, and as stamp, which is
// how tokens have it. It does without string.format and without a table, which would take longer than the asking.
const scriptTime = `
		local now = redis.call('TIME')
		local ms = math.floor(now[1] * 1000 + now[2] / 1000)
		local stamp = ('000000000' .. now[1]):sub(-10) .. '.' .. ('00000' .. now[2]):sub(-6)`

// scriptAfter makes of a script for one key the script for many, each with as many arguments as the others; both begin with
// start. What fails for one key fails for no other: its reply is {message}. It is no error within the array, after some of
// which go-redis leaves the rest of the array unread, and takes it for the replies to the next commands. That the server takes
// no writes is said of all: go-redis then looks for another one.
func scriptAfter(start, source string) script {
	return script{
		one: redis.NewScript(start + source),
		many: redis.NewScript(start + `
		local function one(KEYS, ARGV)` + source + `
		end
		local n, replies = #ARGV / #KEYS, {}
		local key, args = {}, {}
		for i = 1, #KEYS do
			key[1] = KEYS[i]
			for j = 1, n do args[j] = ARGV[(i - 1) * n + j] end
			local ok, reply = pcall(one, key, args)
			if not ok then
				local message = type(reply) == 'table' and reply.err or tostring(reply)
				if message:find('READONLY', 1, true) then return {err = message} end
				reply = {message}
			end
			replies[i] = reply
		end
		return replies`),
	}
}

const (
	scriptLease = iota
	scriptFill
	scriptRenew
	scriptRelease
	scriptClaim
	scriptHold
	scriptInvalidate
	scriptMark
	scriptRecord
	scriptSince
	scriptHoldTags
	scriptIndex
	scriptUnindex
)

const lastOfEntries = scriptInvalidate // the scripts after it are about what tags need
