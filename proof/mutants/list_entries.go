package main

// ofEntries are the rules of one document: leases, fills, claims, and how a document is read.
var ofEntries = []mutant{
	{
		"a document that could not be used is replaced only if it is still those bytes", "scripts.go",
		`if doc and doc ~= ARGV[3] then`, `if doc and ARGV[3] == '' then`,
		"TestUnreadableDocumentIsReplacedOnlyIfItIsStillThoseBytes",
	},
	{
		"a lease is given to one at a time", "scripts.go",
		`redis.call('PTTL', KEYS[1]) >= 0 then`, `false then`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a lease without a TTL, which was not made here and would never end, is replaced", "scripts.go",
		`and redis.call('PTTL', KEYS[1]) >= 0 then`, `then`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"who waits marks the lease, so that its return is told", "scripts.go",
		`redis.pcall('SET', KEYS[1], doc:sub(1, -2) .. ',"waited":true}', 'KEEPTTL')`, ``,
		"TestWaitersLoadAtOnceWhenTheLoadTheyWaitedForFailed",
	},
	{
		"out of memory, who finds a lease waits for it", "scripts.go",
		`redis.pcall('SET', KEYS[1], doc:sub(1, -2)`, `redis.call('SET', KEYS[1], doc:sub(1, -2)`,
		"TestLeaseIsRespectedWhenRedisIsOutOfMemory",
	},
	{
		"marking a lease as waited for leaves it its TTL", "scripts.go",
		`',"waited":true}', 'KEEPTTL')`, `',"waited":true}')`,
		"TestLeaseThatIsWaitedForExpires",
	},
	{
		"a lease expires", "scripts.go",
		`lease, 'PX', ARGV[2], 'NX')`, `lease, 'PX', ARGV[2] * 1000, 'NX')`,
		"TestLeaseExpiresSoonAfterItsProcessHasDied",
	},
	{
		"out of memory, who asks for a lease still gets a document that is there", "scripts.go",
		`redis.pcall('SET', KEYS[1], lease`, `redis.call('SET', KEYS[1], lease`,
		"TestErrorsOfACommandForManyKeysDoNotShiftTheRepliesToTheNext",
	},
	{
		"a command that is executed twice makes two leases", "scripts.go",
		`.. ARGV[1] .. '-' .. stamp .. '"}'`, `.. ARGV[1] .. '-' .. stamp:sub(1, 11) .. '0"}'`,
		"TestDelayedDuplicatesAreHarmless/lease/redis",
	},
	{
		"a fill replaces the document that its load started from, and no other", "scripts.go",
		`then return 0 end
		if ms`, `then end
		if ms`,
		"TestSlowLoadDoesNotFillAfterInvalidate",
	},
	{
		"a fill that comes too late is refused", "scripts.go",
		`> tonumber(ARGV[5]) then return 0 end`, `> tonumber(ARGV[5]) then end`,
		"TestFillThatComesTooLateIsRefused",
	},
	{
		"a value expires", "scripts.go",
		`redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])`, `redis.call('SET', KEYS[1], ARGV[2])`,
		"TestValueIsGoneAfterTTLAndStale",
	},
	{
		"a stored value has an id of its own, not that of its predecessor", "scripts.go",
		`redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)`,
		`redis.call('SETRANGE', KEYS[1], 0, ARGV[1]:match('^{"id":.*') or '')`,
		"TestSlowRefreshDoesNotReplaceALaterOne",
	},
	{
		"who waits polls often about when the load is usually done", "fetch.go",
		`min(off/2, max(waited/9, usual/4))`, `0*off+max(waited/9, usual/4)`,
		"TestWhatWaitingCosts",
	},
	{
		"the id of a stored value has the server's time", "scripts.go",
		`redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)`, ``,
		"TestIDOfAValueEndsWithTheServersTime",
	},
	{
		"renewing a lease renews no other document", "scripts.go",
		`~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`, `~= ARGV[1] then end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`,
		"TestDelayedRenewalLeavesTheTTLOfAValue",
	},
	{
		"the lease of a load that goes on is renewed", "fetch.go",
		`return every(f.store.lease/4, func() {`, `return every(f.store.lease*4, func() {`,
		"TestLeaseIsRenewedWhileTheLoadRuns",
	},
	{
		"returning a lease returns no other document", "scripts.go",
		`~= ARGV[1] then return 0 end
		if tonumber(ARGV[2]) > 0 and`, `~= ARGV[1] then end
		if tonumber(ARGV[2]) > 0 and`,
		"TestDelayedReleaseLeavesWhatCameLater",
	},
	{
		"a lease that nobody waits for is returned as no key", "scripts.go",
		`and redis.call('GET', KEYS[1]) == ARGV[1] .. ',"waited":true}' then`, `then`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"a claim is of the document that is to be refreshed, and no other", "scripts.go",
		`~= ARGV[1] then return 0 end
		local at`, `~= ARGV[1] then end
		local at`,
		"TestRefreshDoesNotFillAfterInvalidateTags",
	},
	{
		"one process at a time claims a refresh", "scripts.go",
		`or 0) > ms then return 0 end`, `or 0) > ms then end`,
		"TestProcessWhoseClaimComesSecondDoesNotRefresh",
	},
	{
		"a claim leaves the document its TTL", "scripts.go",
		`string.format('%13.0f', ms + ARGV[3]) .. ARGV[4])`, `string.format('%13.0f', ms + ARGV[3]) .. ARGV[4]) redis.call('PERSIST', KEYS[1])`,
		"TestValueWhoseRefreshesFailIsGoneAfterTTLAndStale",
	},
	{
		"the lease of another is not one's own", "send.go",
		`strings.HasPrefix(doc, leasePrefix+st.args[0].(string)+"-")`, `strings.HasPrefix(doc, leasePrefix)`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a time has all digits of its seconds", "scripts.go",
		`('000000000' .. now[1]):sub(-10)`, `now[1]`,
		"TestTimeInAnIDHasAllItsDigits",
	},
	{
		"a time has all digits of its microseconds", "scripts.go",
		`('00000' .. now[2]):sub(-6)`, `now[2]`,
		"TestTimeInAnIDHasAllItsDigits",
	},
	{
		"each lease has a nonce of its own", "store.go",
		`strconv.FormatUint(n.count.Add(1), 36)`, `strconv.FormatUint(0, 36)`,
		"TestGetManyBesideAGetOfTheSameKeyIsOneLoad",
	},
	{
		"each process has nonces of its own", "store.go",
		`rand.Text()[:16]`, `rand.Text()[:0]`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a lease that comes when nobody waits for it any more is given back", "store.go",
		`if ctx.Err() != nil {
			s.giveBack`, `if false {
			s.giveBack`,
		"TestLeaseThatComesTooLateIsGivenBack",
	},
	{
		"the keys of one command each get their own answer", "send.go",
		`replies[i] = steps[i].reply(results[n])`, `replies[i] = steps[i].reply(results[n-n])`,
		"TestWhatEachCallCosts",
	},
	{
		"a key of which a command failed is told so", "send.go",
		`return reply{err: scriptError(text)}`, `return reply{ok: text != ""}`,
		"TestWhatFailsForOneKeyOfACommandFailsForNoOther",
	},
	{
		"keys that a server does not take together are sent one by one", "send.go",
		`if isCrossSlot(r.err) {`, `if isCrossSlot(r.err) && false {`,
		"TestClientOfOneNodeOfAClusterSendsKeysOneByOne",
	},
	{
		"what the user's functions do is not waited for", "bounded.go",
		`case callsUser(original.Options()):`, `case false:`,
		"TestAFunctionOfTheClientsOptionsThatHangsDoesNotHangACall",
	},
	{
		"a document that its codec damages is still known", "fetch.go",
		`e.value = f.unshared(data)`, `_ = data`,
		"TestDocumentThatItsCodecDamagesIsReplaced",
	},
	{
		"scripts whose keys are no entries are run one by one", "send.go",
		`st.script <= lastOfEntries`, `true`,
		"TestEntriesOfOneCallAreFoundByTheirTags",
	},
	{
		"a server that does not know a script is taught it", "send.go",
		`if untaught != nil {`, `if false {`,
		"TestAServerThatForgotTheScriptsIsTaughtAgain",
	},
	{
		"a token is compared to its end, not as the beginning of another", "entry.go",
		"return leasePrefix + string(e.token) + `\"`", "return leasePrefix + string(e.token)",
		"TestNoTokenStandsForALongerOne",
	},
	{
		"an id is compared to its end, not as the beginning of another", "entry.go",
		"return idPrefix + string(e.token) + `\"`", "return idPrefix + string(e.token)",
		"TestNoTokenStandsForALongerOne",
	},
	{
		"a value that was cut short is not read", "entry.go",
		`int64(len(s.rest)) == size+1 && s.rest[size] == '}'`, `len(s.rest) > 0 && int64(len(s.rest)) <= size+1`,
		"TestTruncatedDocumentIsAMissWhateverTheCodec",
	},
	{
		"a value that is not JSON and was cut short is not read", "entry.go",
		`s.ok = s.ok && int64(len(s.rest)) == size
`, `s.ok = s.ok && int64(len(s.rest)) <= size
`,
		"TestTruncatedDocumentIsAMissWhateverTheCodec",
	},
	{
		"a value of another version is not read", "cache.go",
		`&& e.version == c.config.version &&`, `&&`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"a document that was written by hand is not read past its time", "cache.go",
		`(e.ours || time.Now().UnixMilli() <= e.fresh)`, `(e.ours || true)`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"what the faster engine refuses is left to encoding/json", "codec.go",
		`	if c.read(data, v) == nil {
		return nil
	}`, `	if err := c.read(data, v); true {
		return err
	}`,
		"TestJSONIsReadAsEncodingJSONDoes",
	},
	{
		"which gets a zero value to decode into", "codec.go",
		`	reflect.ValueOf(v).Elem().SetZero()`, `	_ = reflect.ValueOf(v).Elem().SetZero`,
		"TestJSONIsReadAsEncodingJSONDoes",
	},
	{
		"encoding/json reads a type with a name that it does not take from a tag", "value.go",
		`return written != name || `, `return written != written || `,
		"TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads a type with an option that only its second version knows", "value.go",
		`|| more && !allOf(`, `|| more && false && !allOf(`,
		"TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads a type that its second version asks to read itself", "value.go",
		`reflect.PointerTo(t).Implements(jsonUnmarshalerFromType)`, `false`,
		"TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads map keys that read JSON", "value.go",
		`c.codec.standard || keyReadsItself(t.Key())`, `c.codec.standard || false && keyReadsItself(t.Key())`,
		"TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"a field has the name that encoding/json gives it", "value.go",
		`if _, taken := fields[name]; !taken {`, `if _, taken := fields[name]; !taken && false {`,
		"TestNamesThatEncodingJSONDoesNotTakeFromATag",
	},
	{
		"a document that was written by hand is not claimed in place", "refresh.go",
		`if !e.ours || e.claim > ms {`, `if e.claim > ms {`,
		"TestDocumentWrittenByHandIsNotDamagedByARefresh",
	},
	{
		"a null is no value of a pointer", "cache.go",
		`err == nil && !c.isNil(v) {`, `err == nil {`,
		"TestNullForAPointerIsAMiss",
	},
	{
		"what is not a string is not taken for a failure of Redis", "breaker.go",
		`if !errors.As(err, &answered) {`, `if !errors.As(err, &answered) || isWrongType(err) {`,
		"TestWhatIsNoFailureToReachRedisDoesNotMeanDown",
	},
}
