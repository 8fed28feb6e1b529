// Package nearscript holds the Lua scripts of near copies, beside the tables of what they answer. The scripts are a package of
// their own so that proof/near can hold them against the model.
//
// All of them are about one key, KEYS[1], which is called LOG. A script of two keys would fail with TRYAGAIN while their slot
// moves to another node and one of the keys is missing. LOG is a sorted set with four kinds of members, each with its own
// range of scores:
//
//	member           score
//	p<reader>        minus the position of the reader: the id of the last record that it has applied, or 1e14 + 1 for none
//	''               minus the time at which LOG was made, in ms since 1970
//	e<reader>        the time at which the lease of the reader ends at the latest, in ms since 1970
//	<nonce> <about>  a record: its id, which is the server's time in µs since 1970, or one more than the id before
//
// So the records stand in their order, and the lowest position of all readers is found without a look at each reader. A nonce
// is made by the process that sends the record. It contains no space, begins with no other nonce, and never comes again: a record
// is known by both its id and its nonce, since ids can repeat after LOG was lost. Scripts never look into what a record is about.
//
// A LOG that is younger than Δ may not know all readers: LOG was lost, and a reader serves its copies until its lease ends. So
// nobody counts as a reader that has applied a record until LOG is older than Δ.
package nearscript

// Head is what each script begins with. The scripts need effects to be replicated, which servers do since Redis 5.
//
// open is called before LOG is written to. PEXPIRE comes first, so that a server that is out of memory accepts the rest: such a
// server lets a script write that has written before, even in vain. A LOG that was made later than now was made before the
// server's clock was set back, and so its age is not known.
//
// lowest returns the lowest position of all readers that may have a lease, except for the reader self. It returns 0 if LOG may
// not know all readers, and infinity if there are none. It removes readers whose time is over. A time that is more than Δ
// ahead was entered before the server's clock was set back, and is cut to Δ.
//
// none is the score of a position that is none. It is no power of ten: miniredis writes those in a form that its Lua cannot read.
const Head = `
		local now = redis.call('TIME')
		local us = now[1] * 1000000 + now[2]
		local ms, none = math.floor(us / 1000), -100000000000001
		local function text(number) return string.format('%.0f', number) end
		local function open(life)
			redis.call('PEXPIRE', KEYS[1], life)
			local born = tonumber(redis.call('ZSCORE', KEYS[1], '') or '')
			if not born then redis.call('DEL', KEYS[1]) end
			if not born or -born > ms then redis.call('ZADD', KEYS[1], text(-ms), '') end
			if not born then redis.call('PEXPIRE', KEYS[1], life) end
		end
		local function last()
			local record = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '1e14', 'WITHSCORES', 'LIMIT', 0, 1)
			return record[1], tonumber(record[2])
		end
		local function readers() return redis.call('ZCOUNT', KEYS[1], '(' .. text(ms), '(1e14') end
		local function lowest(delta, self)
			for _, e in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(0', text(ms))) do
				redis.call('ZREM', KEYS[1], e, 'p' .. e:sub(2))
			end
			for _, e in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(ms + delta), '(1e14')) do
				redis.call('ZADD', KEYS[1], text(ms + delta), e)
			end
			local born = tonumber(redis.call('ZSCORE', KEYS[1], '') or '')
			if not born or ms < -born + delta then return 0 end
			local two = redis.call('ZREVRANGEBYSCORE', KEYS[1], '(-1e13', '-inf', 'WITHSCORES', 'LIMIT', 0, 2)
			for i = 1, #two, 2 do
				if two[i] ~= 'p' .. self then return -tonumber(two[i + 1]) end
			end
			return math.huge
		end`

// News enters a reader, and answers what is new. ARGV: life of LOG in ms, Δ in ms, how many records to answer at most, the
// reader, a nonce, id and nonce of the record that the reader has applied (” and ” for none), id and nonce of a later record
// up to which it has applied all records since (” and ” for none).
//
//	{1, id, nonce, readers, about ...}  id and nonce of the last record, how many readers there are, and what the records are
//	                                    about that the reader has not applied
//	{0, id, nonce, readers}             RESET: what the reader has applied is not there any more, or is too long ago
//
// The reader gets all records or RESET, and never a part of them: a lease must not begin before all records are applied. With
// RESET the position is none. A position never falls, whatever a NEWS says that comes late.
const News = `
		open(ARGV[1])
		local record, id = last()
		if not record then
			record, id = ARGV[5] .. ' ', us
			redis.call('ZADD', KEYS[1], text(id), record)
		end
		local records, first = {}, nil -- first: place of the first one that the reader has not applied
		if ARGV[6] ~= '' then
			local function is(i, id, nonce)
				return records[i] and tonumber(records[i + 1]) == tonumber(id) and records[i]:sub(1, #nonce + 1) == nonce .. ' '
			end
			records = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[6], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3] + 2)
			if is(1, ARGV[6], ARGV[7]) then first = 3 end
			if first and ARGV[8] ~= '' then
				first = nil
				for i = 1, #records, 2 do
					if is(i, ARGV[8], ARGV[9]) then first = i + 2 end
				end
			end
			if #records > 2 * (ARGV[3] + 1) then first = nil end
		end
		local position = none
		if first then position = -tonumber(records[first - 1]) end
		position = math.min(position, tonumber(redis.call('ZSCORE', KEYS[1], 'p' .. ARGV[4]) or none))
		redis.call('ZADD', KEYS[1], text(ms + ARGV[2]), 'e' .. ARGV[4], text(position), 'p' .. ARGV[4])
		local reply = {first and 1 or 0, text(id), record:match('^[^ ]*'), readers()}
		if first then
			for i = first, #records, 2 do reply[#reply + 1] = records[i]:match(' (.*)') end
		end
		return reply`

// Note appends a record. ARGV: life of LOG in ms, Δ in ms, a reader that need not be waited for (” for none), how many records
// to keep, a nonce, what the record is about, how long a message may be.
//
//	{id, 1, readers}  of the record; no other reader may have a lease
//	{id, 0, readers}  of the record; some reader may have
//
// A late duplicate finds its record there, and leaves it where it is.
//
// Each record is told in a message, on the channel that is named like LOG, if there are readers:
//
//	id id-before nonce-before nonce about  the record before is named so that a reader knows whether it has missed one
//	id                                     the same, where it would be too long
//
// A message may be lost, and an ACL may not allow the channel: so an error is ignored. No message
// is sent for a record if more than 16 records have come within the pace of the readers, which is
// 300 µs for each reader. Then each NEWS brings records anyway, and messages to hundreds of
// processes would take all of a core.
const Note = `
		open(ARGV[1])
		local before, at = last()
		local record, id = ARGV[5] .. ' ' .. ARGV[6], math.max(us, (at or 0) + 1)
		local added = redis.call('ZADD', KEYS[1], 'NX', text(id), record) == 1
		if not added then id = tonumber(redis.call('ZSCORE', KEYS[1], record)) end
		local records = redis.call('ZCOUNT', KEYS[1], '1e14', '+inf')
		if records > tonumber(ARGV[4]) then
			local others = redis.call('ZCARD', KEYS[1]) - records
			redis.call('ZREMRANGEBYRANK', KEYS[1], others, others + records - ARGV[4] - 1)
		end
		local alone, readers = lowest(ARGV[2], ARGV[3]) >= id and 1 or 0, readers()
		local crowded = redis.call('ZCOUNT', KEYS[1], text(id - 300 * readers), '+inf') > 16
		if added and readers > 0 and not crowded then
			local message = text(id)
			if #record <= tonumber(ARGV[7]) then
				local chain = before and text(at) .. ' ' .. before:match('^[^ ]*') or '0 -'
				message = message .. ' ' .. chain .. ' ' .. record
			end
			redis.pcall('PUBLISH', KEYS[1], message)
		end
		return {text(id), alone, readers}`

// Low tells how far the readers are. ARGV: Δ in ms, a reader that need not be waited for (” for none), then id and nonce of a
// record, again and again.
//
//	for each record:  1  no reader that may have a lease has yet to apply it
//	                  0  a reader may have to
//	                 -1  it is not there any more
const Low = `
		local low, reply = lowest(ARGV[1], ARGV[2]), {}
		for i = 3, #ARGV, 2 do
			local record = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])[1]
			local nonce = ARGV[i + 1] .. ' '
			if not record or record:sub(1, #nonce) ~= nonce then
				reply[#reply + 1] = -1
			else
				reply[#reply + 1] = low < tonumber(ARGV[i]) and 0 or 1
			end
		end
		return reply`

// Close removes a reader, which serves no copies any more. ARGV: the reader, whose name nobody ever uses again.
//
//	n  members removed
const Close = `
		return redis.call('ZREM', KEYS[1], 'e' .. ARGV[1], 'p' .. ARGV[1])`
