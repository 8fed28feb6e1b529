package main

import "slices"

// mutants are listed by the part of the data path that they break. Where a piece of source says too little to find the
// place, it has the lines around it.
var mutants = slices.Concat(
	ofEntries, ofHolds, ofFlights, ofLoads, ofAbsences, ofTold, ofTags, ofInvalidations, ofOutages, ofNear, ofVerification, ofSeals,
)
