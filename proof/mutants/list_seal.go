package main

// ofSeals are the rules of what is sealed.
var ofSeals = []mutant{
	{
		"what is sealed is bound to its name", "internal/engine/seal.go",
		`return append(append(dst, kind), name...)`, `return append(append(dst, kind), make([]byte, len(name))...)`,
		"TestASealedDocumentThatWasMovedForgedOrFlippedIsAMissThatRepairsItself",
	},
	{
		"what is sealed is bound to its version", "internal/engine/seal.go",
		`uint64(s.version))`, `0)`,
		"TestASealedDocumentThatWasMovedForgedOrFlippedIsAMissThatRepairsItself",
	},
	{
		"a value is no absence, and an absence no value", "internal/engine/seal.go",
		`	if absent {
		kind = 1`, `	if absent {
		kind = 0`,
		"TestASealedDocumentThatWasMovedForgedOrFlippedIsAMissThatRepairsItself",
	},
	{
		"a cache that seals reads nothing plain", "internal/engine/seal.go",
		`case !e.Sealed:`, `case !e.Sealed && true:
		return e.Value, 1 << 60, nil
	case false:`,
		"TestASealedDocumentThatWasMovedForgedOrFlippedIsAMissThatRepairsItself",
	},
	{
		"a cache that does not seal reads nothing sealed", "internal/engine/read.go",
		`(c.seal == nil && !e.Sealed || c.opens(name, e, shared))`, `(c.seal == nil || c.opens(name, e, shared))`,
		"TestASealedDocumentIsUnusableToACacheThatDoesNotSeal",
	},
	{
		"a sealed entry ends", "internal/engine/seal.go",
		`past := time.Now().UnixMilli() - end; past >= 0 {`, `past := time.Now().UnixMilli() - end; past >= 1<<60 {`,
		"TestWhatIsBroughtBackEndsWithItsSeal",
	},
	{
		"an absence is not served past its TTL, whatever WithStale says", "internal/engine/fill.go",
		`return d.storeOp(w, h, life, life, latest)`, `return d.storeOp(w, h, life, durations.Saturated(life, d.Config.Stale), latest)`,
		"TestWhatIsBroughtBackEndsWithItsSeal",
	},
	{
		"a near copy ends with the seal that it came from", "internal/engine/seal.go",
		`e.Value, e.Fresh = data, min(e.Fresh, end)`, `e.Value = data`,
		"TestNearCopiesOfWhatIsSealedEndWithIt",
	},
	{
		"a near copy of a fill ends with its document", "nearcopies.go",
		`w.Absent(), w.Tags, w.Fresh)`, `w.Absent(), w.Tags, time.Now().Add(t.core.Config.TTL))`,
		"TestANearCopyOfALateFillEndsWithItsDocument",
	},
	{
		"each AEAD opens", "internal/engine/seal.go",
		`for _, aead := range s.AEADs {
		n`, `for _, aead := range s.AEADs[:1] {
		n`,
		"TestAKeyIsRotated",
	},
	{
		"the first AEAD seals", "internal/engine/seal.go",
		`aead, bound := s.AEADs[0], boundSize+len(name)`, `aead, bound := s.AEADs[len(s.AEADs)-1], boundSize+len(name)`,
		"TestAKeyIsRotated",
	},
	{
		"each fill has a nonce of its own", "internal/engine/seal.go",
		`_, _ = rand.Read(nonce)`, `_, _ = rand.Read(nonce[:0])`,
		"TestEachFillHasANonceOfItsOwn",
	},
	{
		"an absence is sealed as well", "internal/engine/fill.go",
		`	if d.seal == nil {`, `	if d.seal == nil || h.Absent {`,
		"TestWhatIsSealedIsReadByAllWhoHaveTheKeyAndCannotBeReadInRedis",
	},
	{
		"a sealed document that was cut short is no absence", "internal/document/entry.go",
		`json.Unmarshal(doc, &d) != nil || d.Sealed != nil {`, `json.Unmarshal(doc, &d) != nil {`,
		"internal/document: TestWhatIsSealedIsParsedBack",
	},
	{
		"an AEAD that panics ends nothing but the opening", "internal/engine/seal.go",
		`func (s *Seal) Open(name string, e *document.Entry) (data []byte, end int64, err error) {
	defer aeadPanicked(&err)`, `func (s *Seal) Open(name string, e *document.Entry) (data []byte, end int64, err error) {`,
		"TestAnAEADThatPanicsHasItsEntryLoadedAndNotStored",
	},
	{
		"the moment in which an entry expires is not logged", "internal/engine/seal.go",
		`if past > clockSkew && c.logged.now() {`, `if c.logged.now() {`,
		"TestASealedDocumentThatHasLongEndedIsLogged",
	},
	{
		"an error names the entry, and not its key", "rows.go",
		`is not equal to itself", r.want.Name)`, `is not equal to itself", fmt.Sprint(r.key))`,
		"TestAKeyThatWithKeyHashesIsShownNowhere",
	},
	{
		"a reply that go-redis panics at does not end the process", "internal/near/listen.go",
		`		if p := recover(); p != nil {`, `		if p := any(nil); p != nil {`,
		"TestARedisThatLiesMakesACacheThatSealsSlowAndNeverWrong",
	},
}
