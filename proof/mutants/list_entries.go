package main

// ofEntries are the rules of one document: leases, fills, claims, and how a document is read.
var ofEntries = []mutant{
	{
		"a document that could not be used is replaced only if it is still those bytes", "internal/redisstore/scripts.go",
		`if doc and doc ~= ARGV[3] then`, `if doc and ARGV[3] == '' then`,
		"TestUnreadableDocumentIsReplacedOnlyIfItIsStillThoseBytes",
	},
	{
		"a lease is given to one at a time", "internal/redisstore/scripts.go",
		`and left >= 0 and left <= life then`, `and false then`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a lease that lives longer than it was given is replaced", "internal/redisstore/scripts.go",
		`and left >= 0 and left <= life`, `and left >= 0`,
		"TestNothingThatTheDeadLeaveOutlivesItsTimeWhenTheClockIsSetBack/a_lease/redis",
	},
	{
		"a claim that lasts longer than it was made for counts for nothing", "internal/redisstore/scripts.go",
		`left > 0 and left <= tonumber(ARGV[4])`, `left > 0`,
		"TestAClaimOfTheDeadDoesNotOutliveAClockThatIsSetBack/miniredis",
	},
	{
		"a claim that lasts longer than it was made for keeps no reader from asking", "internal/engine/claim.go",
		`e.Claim > ms && e.Claim <= ms+`, `e.Claim > ms && 0 <= ms+`,
		"TestAClaimOfTheDeadDoesNotOutliveAClockThatIsSetBack/miniredis",
	},
	{
		"a lease without a TTL, which was not made here and would never end, is replaced", "internal/redisstore/scripts.go",
		`and left >= 0 and left <= life`, `and left <= life`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"who waits marks the lease, so that its return is told", "internal/redisstore/scripts.go",
		`redis.pcall('SET', KEYS[1], doc:sub(1, -2) .. ',"waited":true}', 'KEEPTTL')`, ``,
		"TestWaitersLoadAtOnceWhenTheLoadTheyWaitedForFailed",
	},
	{
		"out of memory, who finds a lease waits for it", "internal/redisstore/scripts.go",
		`redis.pcall('SET', KEYS[1], doc:sub(1, -2)`, `redis.call('SET', KEYS[1], doc:sub(1, -2)`,
		"TestLeaseIsRespectedWhenRedisIsOutOfMemory",
	},
	{
		"marking a lease as waited for leaves it its TTL", "internal/redisstore/scripts.go",
		`',"waited":true}', 'KEEPTTL')`, `',"waited":true}')`,
		"TestLeaseThatIsWaitedForExpires",
	},
	{
		"a lease expires", "internal/redisstore/scripts.go",
		`lease, 'PX', ARGV[2], 'NX')`, `lease, 'PX', ARGV[2] * 1000, 'NX')`,
		"TestLeaseExpiresSoonAfterItsProcessHasDied",
	},
	{
		"out of memory, who asks for a lease still gets a document that is there", "internal/redisstore/scripts.go",
		`redis.pcall('SET', KEYS[1], lease`, `redis.call('SET', KEYS[1], lease`,
		"TestErrorsOfACommandForManyKeysDoNotShiftTheRepliesToTheNext",
	},
	{
		"a command that is executed twice makes two leases", "internal/redisstore/scripts.go",
		`.. ARGV[1] .. '-' .. stamp .. '","life":'`, `.. ARGV[1] .. '-' .. stamp:sub(1, 11) .. '0","life":'`,
		"TestDelayedDuplicatesAreHarmless/lease/redis",
	},
	{
		"a fill replaces the document that its load started from, and no other", "internal/redisstore/scripts.go",
		`then return 0 end
		if ms`, `then end
		if ms`,
		"TestSlowLoadDoesNotFillAfterInvalidate",
	},
	{
		"a fill that comes too late is refused", "internal/redisstore/scripts.go",
		`> tonumber(ARGV[5]) then return 0 end`, `> tonumber(ARGV[5]) then end`,
		"TestFillThatComesTooLateIsRefused",
	},
	{
		"a value expires", "internal/redisstore/scripts.go",
		`redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])`, `redis.call('SET', KEYS[1], ARGV[2])`,
		"TestValueIsGoneAfterTTLAndStale",
	},
	{
		"a stored value has an id of its own, not that of its predecessor", "internal/redisstore/scripts.go",
		`redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)`,
		`redis.call('SETRANGE', KEYS[1], 0, ARGV[1]:match('^{"id":.*') or '')`,
		"TestSlowRefreshDoesNotReplaceALaterOne",
	},
	{
		"who waits polls often about when the load is usually done", "internal/engine/poll.go",
		`min(off/2, max(waited/9, usual/4))`, `0*off+max(waited/9, usual/4)`,
		"TestWhatWaitingCosts",
	},
	{
		"the id of a stored value has the server's time", "internal/redisstore/scripts.go",
		`redis.call('SETRANGE', KEYS[1], ARGV[3], stamp)`, ``,
		"TestIDOfAValueEndsWithTheServersTime",
	},
	{
		"renewing a lease renews no other document", "internal/redisstore/scripts.go",
		`~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`, `~= ARGV[1] then end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`,
		"TestDelayedRenewalLeavesTheTTLOfAValue",
	},
	{
		"the lease of a load that goes on is renewed", "internal/engine/fill.go",
		`time.NewTicker(d.Store.Lease / 4)`, `time.NewTicker(d.Store.Lease * 4)`,
		"TestLeaseIsRenewedWhileTheLoadRuns",
	},
	{
		"returning a lease returns no other document", "internal/redisstore/scripts.go",
		`~= ARGV[1] then return 0 end
		local leased`, `~= ARGV[1] then end
		local leased`,
		"TestDelayedReleaseLeavesWhatCameLater",
	},
	{
		"a lease that nobody waits for is returned as no key", "internal/redisstore/scripts.go",
		`and leased and redis.call('GETRANGE', KEYS[1], -15, -1) == ',"waited":true}' then`, `and leased then`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"a claim is of the document that is to be refreshed, and no other", "internal/redisstore/scripts.go",
		`~= ARGV[1] then return 0 end
		local at`, `~= ARGV[1] then end
		local at`,
		"TestRefreshDoesNotFillAfterInvalidateTags",
	},
	{
		"one process at a time claims a refresh", "internal/redisstore/scripts.go",
		`left <= tonumber(ARGV[4]) then return 0 end`, `left <= tonumber(ARGV[4]) then end`,
		"TestProcessWhoseClaimComesSecondDoesNotRefresh",
	},
	{
		"a claim leaves the document its TTL", "internal/redisstore/scripts.go",
		`string.format('%13.0f', ms + ARGV[3]) .. ARGV[5])`, `string.format('%13.0f', ms + ARGV[3]) .. ARGV[5]) redis.call('PERSIST', KEYS[1])`,
		"TestValueWhoseRefreshesFailIsGoneAfterTTLAndStale",
	},
	{
		"the lease of another is not one's own", "internal/redisstore/send.go",
		`strings.HasPrefix(doc, document.LeasePrefix+o.Args[0].(string)+"-")`, `strings.HasPrefix(doc, document.LeasePrefix)`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a time has all digits of its seconds", "internal/redisstore/scripts.go",
		`('000000000' .. now[1]):sub(-10)`, `now[1]`,
		"TestTimeInAnIDHasAllItsDigits",
	},
	{
		"a time has all digits of its microseconds", "internal/redisstore/scripts.go",
		`('00000' .. now[2]):sub(-6)`, `now[2]`,
		"TestTimeInAnIDHasAllItsDigits",
	},
	{
		"each lease has a nonce of its own", "internal/redisstore/ops.go",
		`strconv.FormatUint(n.count.Add(1), 36)`, `strconv.FormatUint(0, 36)`,
		"TestGetManyBesideAGetOfTheSameKeyIsOneLoad",
	},
	{
		"each process has nonces of its own", "internal/redisstore/ops.go",
		`rand.Text()[:16]`, `rand.Text()[:0]`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"a lease that comes when nobody waits for it any more is given back", "internal/redisstore/send.go",
		`			if ctx.Err() != nil {
				s.giveBack`, `			if false {
				s.giveBack`,
		"TestLeaseThatComesTooLateIsGivenBack",
	},
	{
		"the keys of one command each get their own answer", "internal/redisstore/send.go",
		`replies[i] = replyOf(i, results[n])`, `replies[i] = replyOf(i, results[n-n])`,
		"TestWhatEachCallCosts",
	},
	{
		"a key of which a command failed is told so", "internal/redisstore/send.go",
		`return Reply{Err: scriptError(text)}`, `return Reply{OK: text != ""}`,
		"TestWhatFailsForOneKeyOfACommandFailsForNoOther",
	},
	{
		"keys that a server does not take together are sent one by one", "internal/redisstore/send.go",
		`if isCrossSlot(r.Err) || IsForbidden(r.Err) {`, `if IsForbidden(r.Err) {`,
		"TestTheFirstHoldsOfAClientThatDoesNotKnowOfSlotsArePlaced",
	},
	{
		"what the user's functions do is not waited for", "internal/redisstore/bounded.go",
		`case callsUser(original.Options()):`, `case false:`,
		"TestAFunctionOfTheClientsOptionsThatHangsDoesNotHangACall",
	},
	{
		"a document that its codec damages is still known", "internal/engine/fetch.go",
		`e.Value = f.unshared(data)`, `_ = data`,
		"TestDocumentThatItsCodecDamagesIsReplaced",
	},
	{
		"scripts whose keys are no entries are run one by one", "internal/redisstore/send.go",
		`return 1 // a script of`, `return 64 // a script of`,
		"TestEntriesOfOneCallAreFoundByTheirTags",
	},
	{
		"a server that does not know a script is taught it", "internal/redisstore/send.go",
		`if untaught != nil {`, `if false {`,
		"TestAServerThatForgotTheScriptsIsTaughtAgain",
	},
	{
		"a token is compared to its end, not as the beginning of another", "internal/document/entry.go",
		"return LeasePrefix + string(e.Token) + `\"`", "return LeasePrefix + string(e.Token)",
		"internal/document: TestNoTokenStandsForALongerOne",
	},
	{
		"an id is compared to its end, not as the beginning of another", "internal/document/entry.go",
		"return IDPrefix + string(e.Token) + `\"`", "return IDPrefix + string(e.Token)",
		"internal/document: TestNoTokenStandsForALongerOne",
	},
	{
		"a value that was cut short is not read", "internal/document/entry.go",
		`int64(len(s.rest)) == size+1 && s.rest[size] == '}'`, `len(s.rest) > 0 && int64(len(s.rest)) <= size+1`,
		"TestTruncatedDocumentIsAMissWhateverTheCodec",
	},
	{
		"a value that is not JSON and was cut short is not read", "internal/document/entry.go",
		`s.ok = s.ok && int64(len(s.rest)) == size
`, `s.ok = s.ok && int64(len(s.rest)) <= size
`,
		"TestTruncatedDocumentIsAMissWhateverTheCodec",
	},
	{
		"a value of another version is not read", "internal/engine/read.go",
		`&& e.Version == c.version &&`, `&&`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"the shape of the value is a part of the version", "internal/engine/open.go",
		`return jsonvalue.Version(jsonvalue.ShapeOf(t, c.Config.Codec), c.Config.Version)`, `return jsonvalue.Version("", c.Config.Version)`,
		"TestAFieldThatIsAddedMakesMissesOfTheOldEntries",
	},
	{
		"so is WithVersion", "internal/jsonvalue/shape.go",
		`fmt.Appendf(nil, "%d %s", version, shape)`, `fmt.Appendf(nil, "%d %s", 0*version, shape)`,
		"TestProcessesOfOneShapeAndVersionShareEntries",
	},
	{
		"the order of fields does not matter to the shape", "internal/jsonvalue/shape.go",
		`cmp.Compare(a.name, b.name)`, `cmp.Compare(a.name, a.name)`,
		"internal/jsonvalue: TestWhatChangesTheShape",
	},
	{
		"nor does the name of a list", "internal/jsonvalue/shape.go",
		`if t.Kind() == reflect.Struct {
		s.structs[t]`, `if t.Kind() == reflect.Struct || t.Name() != "" {
		s.structs[t]`,
		"internal/jsonvalue: TestWhatChangesTheShape",
	},
	{
		"the fields of an opaque message are a part of its shape", "internal/jsonvalue/shape.go",
		`|| f.Tag.Get("protobuf") != ""`, ``,
		"internal/jsonvalue: TestAFieldThatIsAddedToAnOpaqueMessageChangesTheShape",
	},
	{
		"JSON is not for opaque messages", "internal/jsonvalue/jsoncheck.go",
		`!f.IsExported() && f.Tag.Get("protobuf") != "":`, `false:`,
		"internal/jsonvalue: TestAValueThatJSONWouldDamageIsRefused",
	},
	{
		"what a codec loses of an opaque message is told", "internal/diff/diff.go",
		`return !isField && !isOneOf && !f.IsExported()`, `return (isField || !isOneOf || true) && !f.IsExported()`,
		"TestWhatACodecLosesOfAnOpaqueMessageIsTold",
	},
	{
		"what is decoded lazily is no difference", "internal/diff/diff.go",
		`|| lazy && isMessages(f.Type)`, `|| lazy && false`,
		"TestWhatACodecLosesOfAnOpaqueMessageIsTold",
	},
	{
		"a hit does not lose an embedded pointer", "internal/jsonvalue/jsoncheck.go",
		`f.Type.Kind() == reflect.Pointer && !alwaysWrites(inner)`, `f.Type.Kind() == reflect.Pointer && false`,
		"internal/jsonvalue: TestAValueThatJSONWouldDamageIsRefused",
	},
	{
		"what the codec changes is told", "internal/engine/values.go",
		`		vs.compare(name, v, data)
`, ``,
		"TestWhatJSONChangesWithoutAnErrorIsTold",
	},
	{
		"only a sample of the values is compared", "internal/engine/altered.go",
		`return n <= firstCompared || `, `return n > 0 || `,
		"TestASampleOfTheValuesIsCompared",
	},
	{
		"which goes on after the first values", "internal/engine/altered.go",
		`|| n%comparedLater == 0`, `|| n%comparedLater == n`,
		"TestASampleOfTheValuesIsCompared",
	},
	{
		"a difference is logged once", "internal/engine/altered.go",
		`if !c.sample.told.CompareAndSwap(false, true) {`, `if c.sample.told.CompareAndSwap(false, true) && false {`,
		"TestASampleOfTheValuesIsCompared",
	},
	{
		"what is decoded for a comparison is not what is stored", "internal/engine/altered.go",
		`vs.unmarshal(bytes.Clone(data), hit.Interface())`, `vs.unmarshal(append(data, bytes.Clone(nil)...), hit.Interface())`,
		"TestWhatFailsInTheComparisonChangesNothing",
	},
	{
		"a codec that never ends keeps no load", "internal/engine/altered.go",
		`isolated(ctx, func() error {`, `isolated(context.WithoutCancel(ctx), func() error {`,
		"TestWhatFailsInTheComparisonChangesNothing",
	},
	{
		"a document that was written by hand is not read past its time", "internal/engine/read.go",
		`(e.Ours || time.Now().UnixMilli() <= e.Fresh)`, `(e.Ours || true)`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"what the faster engine refuses is left to encoding/json", "internal/jsonvalue/codec.go",
		`	if c.read(data, v) == nil {
		return nil
	}`, `	if err := c.read(data, v); true {
		return err
	}`,
		"internal/jsonvalue: TestJSONIsReadAsEncodingJSONDoes",
	},
	{
		"which gets a zero value to decode into", "internal/jsonvalue/codec.go",
		`	reflect.ValueOf(v).Elem().SetZero()`, `	_ = reflect.ValueOf(v).Elem().SetZero`,
		"internal/jsonvalue: TestJSONIsReadAsEncodingJSONDoes",
	},
	{
		"encoding/json reads a type with a name that it does not take from a tag", "internal/jsonvalue/jsoncheck.go",
		`return written != name || `, `return written != written || `,
		"internal/jsonvalue: TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads a type with an option that only its second version knows", "internal/jsonvalue/jsoncheck.go",
		`|| more && !allOf(`, `|| more && false && !allOf(`,
		"internal/jsonvalue: TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads a type that its second version asks to read itself", "internal/jsonvalue/jsoncheck.go",
		`reflect.PointerTo(t).Implements(jsonUnmarshalerFromType)`, `false`,
		"internal/jsonvalue: TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"encoding/json reads map keys that read JSON", "internal/jsonvalue/jsoncheck.go",
		`c.codec.standard || keyReadsItself(t.Key())`, `c.codec.standard || false && keyReadsItself(t.Key())`,
		"internal/jsonvalue: TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON",
	},
	{
		"a field has the name that encoding/json gives it", "internal/jsonvalue/jsoncheck.go",
		`if _, taken := fields[name]; !taken {`, `if _, taken := fields[name]; !taken && false {`,
		"internal/jsonvalue: TestNamesThatEncodingJSONDoesNotTakeFromATag",
	},
	{
		"a document that was written by hand is not claimed in place", "internal/engine/claim.go",
		`if !e.Ours || claimed {`, `if claimed {`,
		"TestDocumentWrittenByHandIsNotDamagedByARefresh",
	},
	{
		"a null is no value of a pointer", "internal/engine/values.go",
		`err == nil && !vs.IsNil(v) {`, `err == nil {`,
		"TestNullForAPointerIsAMiss",
	},
	{
		"what is not a string is not taken for a failure of Redis", "internal/redisstore/breaker.go",
		`if !errors.As(err, &answered) {`, `if !errors.As(err, &answered) || IsWrongType(err) {`,
		"TestWhatIsNoFailureToReachRedisDoesNotMeanDown",
	},
}
