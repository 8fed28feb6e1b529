package main

// ofAbsences are the rules of what is said of keys without a row, and of keys and rows that fail without the others.
var ofAbsences = []mutant{
	{
		"an absence answers for an error that is sql.ErrNoRows itself", "internal/engine/absence.go",
		`if errors.Is(target, sql.ErrNoRows) {`, `if target == ErrNotFound || target == sql.ErrNoRows {`,
		"TestEveryAbsenceAnswersForEveryWayToSayThatThereIsNoRow",
	},
	{
		"an absence answers for an error that is one of WithNotFound", "internal/engine/absence.go",
		`errors.Is(err, target) || errors.Is(target, err) {`, `errors.Is(err, target) {`,
		"TestEveryAbsenceAnswersForEveryWayToSayThatThereIsNoRow",
	},
	{
		"an absence answers for what an error of WithNotFound wraps", "internal/engine/absence.go",
		`errors.Is(err, target) || errors.Is(target, err) {`, `errors.Is(target, err) {`,
		"TestEveryAbsenceAnswersForEveryWayToSayThatThereIsNoRow",
	},
	{
		"an absence that was loaded has the error of WithNotFoundFunc as well", "internal/engine/absence.go",
		`if err := c.edge.Remembered(w); err != nil {`, `if err := c.edge.Remembered(w); err != nil && false {`,
		"TestEveryAbsenceIsTheTypeOfErrorThatWithNotFoundFuncMakes",
	},
	{
		"also one that WithNotFoundFunc recognizes", "internal/engine/absence.go",
		`if err := c.edge.Remembered(w); err != nil {`,
		`if err := c.edge.Remembered(w); err != nil && (c.Config.NotFoundIs == nil || !c.Config.NotFoundIs(cause)) {`,
		"TestEveryAbsenceAnswersForAllThatWithNotFoundFuncSaysOfItsKey",
	},
	{
		"a panic over a remembered absence reaches who waited for it", "internal/engine/fetch.go",
		`case err != nil && e.State == document.Absent:`, `case false:`,
		"TestAPanicInWithNotFoundFuncReachesWhoFindsARememberedAbsence",
	},
	{
		"rows are matched by name", "rows.go",
		`if len(wants)-len(others) < len(rows) {`, `if false {`,
		"TestARowIsFoundUnderTheKeyThatWasAskedForAlsoIfTheDatabaseSpellsItInAnotherWay",
	},
	{
		"a nil hides no row of its name", "rows.go",
		`if r.value, ok = rows[r.key]; !ok || t.values.IsNil(&r.value) {`, `if r.value, ok = rows[r.key]; !ok {`,
		"TestANilHidesNoRowInAnotherSpelling",
	},
	{
		"a nil is no row of a name", "rows.go",
		`case asked[name] && t.values.IsNil(&v):`, `case false:`,
		"TestANilHidesNoRowInAnotherSpelling",
	},
	{
		"a row that nobody asked for is no proof that others are absent", "internal/engine/absence.go",
		`case stray != "":`, `case false:`,
		"TestARowOfAKeyThatNobodyAskedForIsNoProofThatOthersHaveNone",
	},
	{
		"keys of one name are all answered", "many.go",
		`		case first != key:`, `		case first != first:`,
		"TestKeysOfOneNameAreAllAnswered",
	},
	{
		"keys of one name have values of their own", "many.go",
		`			a.typed.values.DeepCopy(&v)
`, ``,
		"TestKeysOfOneNameAreAllAnswered",
	},
	{
		"GetMany reads the keys that can be rendered", "internal/engine/many.go",
		`if refused != nil {`, `if refused != nil && err != nil {`,
		"TestAKeyThatCannotBeRenderedFailsNoOther",
	},
	{
		"a GetMany that ends midway returns the rows that are there", "internal/engine/many.go",
		`case !w.done.Load():`, `case cut != nil:`,
		"TestGetManyWhoseCtxEndsMidwayReturnsTheRowsThatAreThere",
	},
	{
		"what is stored is no memory of what the caller has", "internal/engine/values.go",
		`l.Data = vs.unshared(data)`, `l.Data = data`,
		"TestACallerOfGetManyWhoLeavesMayModifyTheRowsThatAreStillBeingStored",
	},
	{
		"also where its end is heard of late", "internal/engine/many.go",
		`				err = EndOf(ctx)
			}
		case <-ctx.Done():`, `				err = ctx.Err()
			}
		case <-ctx.Done():`,
		"TestTheCauseOfACtxThatEndsWhileGetManyDecodesIsKept",
	},
	{
		"the error of a ctx is its cause as well", "internal/engine/guard.go",
		`return fmt.Errorf("%w: %w", err, cause)`, `return err`,
		"TestEveryErrorOfACtxIsItsCauseAsWell",
	},
	{
		"an InvalidateAll that stops keeps the cause of its ctx", "internal/engine/write.go",
		`withCause(ctx, invalidateAllOrLater(ctx, caches))`, `invalidateAllOrLater(ctx, caches)`,
		"TestInvalidateAllEndsWithItsCtxAndIsFinishedInTheBackground",
	},
	{
		"Shutdown says why its ctx ended", "internal/engine/open.go",
		`withCause(ctx, c.shutdown(ctx))`, `c.shutdown(ctx)`,
		"TestShutdownSaysWhyItsCtxEnded",
	},
	{
		"a GetMany on its caller's goroutine begins no load once its ctx has ended", "internal/engine/many.go",
		`if ctx.Err() != nil { // which the loader may ignore`, `if false {`,
		"TestAGetManyOnItsCallersGoroutineBeginsNoLoadOnceItsCtxHasEnded",
	},
}
