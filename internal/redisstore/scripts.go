package redisstore

import "github.com/redis/go-redis/v9"

// scripts are all the ways in which the library writes. Each is given one key, KEYS[1]: the entry, or for the last of
// them, one of the keys that tags.go tells about. A script of two keys would fail with TRYAGAIN for as long as their slot
// moves and one of them is missing.
var scripts = [...]script{
	// ARGV: nonce, life of the lease in ms, the document that the caller could not use ('' for none).
	//
	//	lease     of the caller, with its nonce: the entry was missing, a returned lease, or still that document
	//	document  that the entry holds instead: a value, a hold, or another's lease, which is marked as waited for
	//
	// Leases and holds tell for how long they were given at most. If one has longer to live than
	// that, the server's clock was set back. Such a lease is replaced. A lease without a TTL, or
	// one that does not tell, is replaced as well: this library did not make it, and it might never
	// end. Such a hold gets the life that it was given, from now on. Its transaction may still be
	// open, and then renews it before that is over. (A hold that does not tell stays as it is.)
	//
	// Most entries are missing, so that is tried first. A server that is out of memory refuses to
	// try, but still has a document for the caller. A replica must not answer with a document: it
	// refuses again, aloud.
	ScriptLease: newTimedScript(`
		local lease = '{"lease":"' .. ARGV[1] .. '-' .. stamp .. '","life":' .. ARGV[2] .. '}'
		local set = redis.pcall('SET', KEYS[1], lease, 'PX', ARGV[2], 'NX')
		if set and set.ok then return lease end
		if set and set.err:find('READONLY', 1, true) then redis.call('SET', KEYS[1], lease, 'NX', 'PX', ARGV[2]) end
		local doc = redis.call('GET', KEYS[1])
		if doc and doc ~= ARGV[3] then
			local leased = doc:sub(1, 10) == '{"lease":"'
			if not leased and doc:sub(1, 8) ~= '{"hold":' then return doc end
			local left, life = redis.call('PTTL', KEYS[1]), 0
			for given in doc:gmatch('"life":(%d+)') do life = math.max(life, tonumber(given)) end
			if not leased then
				if life > 0 and left > life then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life)) end
				return doc
			end
			if doc:sub(-17) ~= ',"returned":true}' and left >= 0 and left <= life then
				if doc:sub(-15) ~= ',"waited":true}' then
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
	ScriptFill: newTimedScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		if ms > tonumber(ARGV[5]) then return 0 end
		redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
		redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)
		return 1`),

	// ARGV: how the lease begins, its new life in ms.
	//
	//	1  renewed
	//	0  it is gone
	ScriptRenew: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`),

	// ARGV: how the document begins that the load started from, for how many ms waiters are told,
	// or 0: then one of them loads, and not each for itself.
	//
	//	1  removed, or left as a returned lease to the processes that wait for it
	//	0  it is gone
	ScriptRelease: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		local leased = ARGV[1]:sub(1, 10) == '{"lease":"'
		if tonumber(ARGV[2]) > 0 and leased and redis.call('GETRANGE', KEYS[1], -15, -1) == ',"waited":true}' then
			local set = redis.pcall('SET', KEYS[1], ARGV[1] .. ',"returned":true}', 'PX', ARGV[2])
			if not set.err then return 1 end
		end
		redis.call('DEL', KEYS[1]) -- which a server that is out of memory does, too
		return 1`),

	// ARGV: how the document begins, where its claim stands, for how many ms to claim it, the longest that anybody claims it
	// for, in ms, and '' to claim it only if nobody has, or what to write after the claim.
	//
	//	ms  claimed then, in ms since 1970
	//	0   it is gone, or somebody else's
	//
	// A claim that has longer to go was made before the server's clock was set back, and counts for nothing. SETRANGE leaves
	// the TTL as it is.
	ScriptClaim: newTimedScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		local at = tonumber(ARGV[2])
		local left = (tonumber(redis.call('GETRANGE', KEYS[1], at, at + 12)) or 0) - ms
		if ARGV[5] == '' and left > 0 and left <= tonumber(ARGV[4]) then return 0 end
		redis.call('SETRANGE', KEYS[1], at, string.format('%13.0f', ms + ARGV[3]) .. ARGV[5])
		return ms`),

	// ARGV: a holder's token ('' for none), for how many ms from now it holds the entry (0 ends that), for how many ms from
	// now nothing may be cached because replicas of the database lag (0 for none): the holder "lag". And a nonce.
	//
	//	{1, id}   done. The id is that of the holder's hold: one that begins with the nonce was placed just now, another one
	//	          was there. Of a hold that has ended it is '' if it was gone.
	//	{-1, ''}  there is a hold in a format that this version does not know, which stays as it is
	//
	// A hold keeps its id as long as it is unbroken, and only its end shortens it. Its holder tells for how long it was given:
	// one that has longer to go was placed before the server's clock was set back, and goes on for that long from now.
	//
	// Whatever else there was is gone afterwards, always. A hold that is gone when it ends, evicted or deleted, has let loads
	// begin that saw the row from before: that is why ending it removes them. What the last holder leaves is no key.
	//
	// The document is written over, and removed only if nothing is written: while its slot moves to
	// another node, a key that is not there cannot be written here. A server that is out of memory
	// lets a script write that has written before, even in vain: that is what PEXPIRE is for. So
	// rows can be written.
	ScriptHold: newTimedScript(`
		local doc = redis.call('GET', KEYS[1])
		local holders = {}
		if doc and doc:sub(1, 8) == '{"hold":' then
			local unknown = {-1, ''}
			local ok, decoded = pcall(cjson.decode, doc)
			if not ok or type(decoded.hold) ~= 'table' or next(decoded.hold) == nil then return unknown end
			for field in pairs(decoded) do
				if field ~= 'hold' then return unknown end
			end
			for token, h in pairs(decoded.hold) do
				if type(token) ~= 'string' or type(h) ~= 'table' then return unknown end
				if type(h.id) ~= 'string' or type(h.expiry) ~= 'number' or type(h.life) ~= 'number' then return unknown end
				if not (h.life >= 0 and h.life < 1e13) then return unknown end
				for field in pairs(h) do
					if field ~= 'id' and field ~= 'expiry' and field ~= 'life' then return unknown end
				end
				h.expiry = math.min(h.expiry, ms + h.life)
				if h.expiry > ms then holders[token] = h end
			end
		end
		local function hold(token, life)
			local h = holders[token] or {id = ARGV[4] .. '-' .. stamp, expiry = 0}
			if life > 0 and h.expiry <= ms + life then
				holders[token] = {id = h.id, expiry = ms + life, life = life}
			end
		end
		local mine = holders[ARGV[1]]
		if tonumber(ARGV[2]) == 0 then holders[ARGV[1]] = nil end
		hold(ARGV[1], tonumber(ARGV[2]))
		hold('lag', tonumber(ARGV[3]))
		mine = holders[ARGV[1]] or mine or {id = ''}
		local texts, last = {}, 0
		for token, h in pairs(holders) do
			local times = string.format(',"expiry":%.0f,"life":%.0f}', h.expiry, h.life)
			texts[#texts + 1] = cjson.encode(token) .. ':{"id":' .. cjson.encode(h.id) .. times
			last = math.max(last, h.expiry)
		end
		if last > 0 then
			redis.call('PEXPIRE', KEYS[1], 1000)
			redis.call('SET', KEYS[1], '{"hold":{' .. table.concat(texts, ',') .. '}}', 'PX', string.format('%.0f', last - ms))
		else
			redis.call('DEL', KEYS[1])
		end
		return {1, mine.id}`),

	//	1  removed
	//	0  there was nothing, or a hold, which stays: under a hold nothing is cached
	ScriptInvalidate: newScript(`
		if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' then return 0 end
		return redis.call('DEL', KEYS[1])`),

	// The journal. ARGV: nonce, life of the journal in ms.
	//
	//	{1, score nonce tags}  of the last record (there is one now), and the tags that are held
	//
	// What is held must not be read before the record is: here both are one moment.
	//
	// A holder ends in '/' and for how many ms its holds are given. A hold that has longer to go was placed before the
	// server's clock was set back, and gets that long from now on; see scriptLease.
	ScriptMark: newJournalScript(`
		local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
		if not last[1] or tonumber(last[2]) < 1e14 then
			last = {ARGV[1], us}
			redis.call('ZADD', KEYS[1], string.format('%.0f', us), ARGV[1])
			live(ARGV[2])
		end
		local mark = {string.format('%.0f', tonumber(last[2])), last[1]:match('[^ ]*')}
		local held = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', ms), '(1e14', 'WITHSCORES')
		for i = 1, #held, 2 do
			local life, tag = held[i]:match('^[^ ]*/(%d+) (.*)')
			if life and tonumber(held[i + 1]) > ms + life then
				redis.pcall('ZADD', KEYS[1], string.format('%.0f', ms + life), held[i])
			end
			mark[#mark + 1] = tag or held[i]:match(' (.*)')
		end
		return {1, table.concat(mark, ' ')}`),

	// The journal. ARGV: nonce, life of the journal in ms, how many records to keep, a holder, for how many ms from now it holds
	// the tags (0 for not), for how many ms from now the holder "lag" does (0 for not), tags or '%all'. A holder ends in its life,
	// see scriptMark.
	//
	//	{1, score}  recorded
	//
	// The first call of live is for a server that is out of memory, see scriptHold. A late duplicate finds its record there,
	// and leaves it where it is.
	ScriptRecord: newJournalScript(`
		live(ARGV[2])
		for i = 7, #ARGV do
			hold(ARGV[4], ARGV[i], tonumber(ARGV[5]))
			hold('lag/' .. ARGV[6], ARGV[i], tonumber(ARGV[6]))
		end
		local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
		local score = math.max(us, (tonumber(last[2]) or 0) + 1)
		local record = ARGV[1] .. ' ' .. table.concat(ARGV, ' ', 7)
		redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', score), record)
		score = tonumber(redis.call('ZSCORE', KEYS[1], record))
		local held = redis.call('ZCOUNT', KEYS[1], '-inf', '(1e14')
		local surplus = redis.call('ZCARD', KEYS[1]) - held - ARGV[3]
		if surplus > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], held, held + surplus - 1) end
		live(math.max(ARGV[2], ARGV[5], ARGV[6]))
		return {1, string.format('%.0f', score)}`),

	// The journal. ARGV: the score and the nonce of a record.
	//
	//	{1, tags}  those that later records are about, with spaces between them
	//	{0, ''}    that record is gone, or a later one is about all tags
	ScriptSince: newScript(`
		local records = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf', 'WITHSCORES')
		if not records[1] or tonumber(records[2]) ~= tonumber(ARGV[1]) or records[1]:match('[^ ]*') ~= ARGV[2] then
			return {0, ''}
		end
		local tags = {}
		for i = 3, #records, 2 do
			local about = records[i]:match(' (.*)')
			if about == '%all' then return {0, ''} end
			tags[#tags + 1] = about
		end
		return {1, table.concat(tags, ' ')}`),

	// The journal. ARGV: a holder, for how many ms from now it holds the tags (0 ends that), for how many ms from now the holder
	// "lag" does (0 for not), the nonce and the score of a record ('' for none), tags.
	//
	//	1  done
	//	2  done, and the holder has not held one of them until now, or the record is gone
	//
	// What is no longer held is removed last, and live is first called at the beginning: see
	// scriptHold.
	ScriptHoldTags: newJournalScript(`
		local done, ended = 1, {}
		if ARGV[4] ~= '' then
			local record = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[5], ARGV[5])
			if not record[1] or record[1]:match('[^ ]*') ~= ARGV[4] then done = 2 end
		end
		live(1000)
		for i = 6, #ARGV do
			if not hold(ARGV[1], ARGV[i], tonumber(ARGV[2])) then done = 2 end
			hold('lag/' .. ARGV[3], ARGV[i], tonumber(ARGV[3]))
			if tonumber(ARGV[2]) == 0 then ended[#ended + 1] = ARGV[1] .. ' ' .. ARGV[i] end
		end
		local last = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(1e14', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
		if last[2] then live(last[2] - ms) end
		if #ended > 0 then redis.call('ZREM', KEYS[1], unpack(ended)) end
		redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
		return done`),

	// The index of a tag. ARGV: entries, each with for how many ms from now it may be there.
	//
	//	1  done
	//
	// The score of an entry is when it will have expired, in us since 1970. It is another one each time that the entry is
	// added, even if the clock stands still: it grows as long as the entry is there, and ends in a number that is counted
	// for the index. The count is the score of the member '', below those of entries.
	ScriptIndex: newTimedScript(`
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

	// The index of a tag. ARGV: entries.
	//
	//	{1, places}  those in ARGV of the entries that are missing, with spaces between them
	//
	// To look entries up is to use the index, so that it is not evicted.
	ScriptWarm: newScript(`
		local missing = {}
		for i, entry in ipairs(ARGV) do
			if not redis.call('ZSCORE', KEYS[1], entry) then missing[#missing + 1] = tostring(i) end
		end
		return {1, table.concat(missing, ' ')}`),

	// The index of a tag. ARGV: entries, each with its score when it was read.
	//
	//	1  those that have not been added again are removed
	ScriptUnindex: newScript(`
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

// newJournalScript is newTimedScript for a script of the journal. In this sorted set, the score of a record is its time in us
// since 1970, and that of a held tag is its expiry in ms, which is less than 1e14. The journal lives as long as what is in it.
func newJournalScript(source string) script { return newTimedScript(scriptJournal + source) }

const scriptJournal = `
		local us = now[1] * 1000000 + now[2]
		local function live(life)
			redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(redis.call('PTTL', KEYS[1]), tonumber(life))))
		end
		local function hold(holder, tag, life)
			local member = holder .. ' ' .. tag
			local held = (tonumber(redis.call('ZSCORE', KEYS[1], member)) or 0) > ms
			if life > 0 then redis.call('ZADD', KEYS[1], string.format('%.0f', ms + life), member) end
			return held
		end`

// scriptAfter makes the script for many keys out of the script for one. Each key has as many
// arguments as the others, and both scripts begin with start. What fails for one key fails for no
// other: its reply is {message}. The reply is no error within the array: after some errors go-redis
// leaves the rest of the array unread, and takes it for the replies to the next commands. If the
// server takes no writes, the whole script says so: go-redis then looks for another server.
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
	ScriptLease = iota
	ScriptFill
	ScriptRenew
	ScriptRelease
	ScriptClaim
	ScriptHold
	ScriptInvalidate
	ScriptMark
	ScriptRecord
	ScriptSince
	ScriptHoldTags
	ScriptIndex
	ScriptWarm
	ScriptUnindex

	// What an op may be beside a script.
	readDocument
	readPage // of an index; args: the least score, and how many entries
	numberOfVerbs
)

const LastOfEntries = ScriptInvalidate // the scripts after it are about what tags need

var scriptNames = [len(scripts)]string{
	"lease", "fill", "renew", "release", "claim", "hold", "invalidate", "mark", "record", "since", "holdtags", "index", "warm", "unindex",
}

// NameOf names the script with a hash, "" for one of somebody else. It is for code that looks at
// what is sent.
func NameOf(hash string) string {
	for i, s := range scripts {
		if hash == s.one.Hash() || hash == s.many.Hash() {
			return scriptNames[i]
		}
	}
	return ""
}

// Named returns the scripts for one key by their names.
func Named() map[string]*redis.Script {
	named := make(map[string]*redis.Script)
	for i, s := range scripts {
		named[scriptNames[i]] = s.one
	}
	return named
}
