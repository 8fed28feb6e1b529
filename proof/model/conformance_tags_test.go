package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/testserver"
)

// The same for the scripts of tags: random commands go through the books below, miniredis and a real Redis, and after each
// of them all three have the same journal, the same held tags and the same index, and have given the same answer. The
// books are what proof/model/tags_redis.go says of one tag and one entry, for several, and with all that the answers tell.
func TestTheScriptsOfTagsDoWhatTheBooksSay(t *testing.T) {
	mini := miniredis.RunT(t)
	servers := []*server{
		newServer(t, "miniredis", mini.Addr(), mini.FastForward),
		newServer(t, "Redis", testserver.Redis(t).Addr, nil),
	}
	for seed := range uint64(50) {
		r := &tagRig{
			rig:    rig{t: t, random: rand.New(rand.NewPCG(seed, 1)), servers: servers},
			books:  books{held: make(map[string]int), index: make(map[string]indexed)},
			ids:    make(map[*server][]string),
			scores: make(map[*server]map[indexed]string),
		}
		for _, s := range servers {
			s.client.FlushAll(t.Context())
			r.scores[s] = make(map[indexed]string)
		}
		for range 60 {
			r.step()
			if r.check(); t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, strings.Join(r.log, "\n"))
			}
		}
	}
}

const (
	journal  = "aside-tags"
	tagIndex = "aside-tag=a"
)

// Lives are in units of 100 s, so that the few ms which a test takes make no difference; 0 is 1 ms, which is over before
// the next command.
type books struct {
	journal   []tagEntry
	written   int            // records ever
	held      map[string]int // by holder and tag, for how long
	life      int            // of the key of both
	index     map[string]indexed
	indexLife int
	added     int // entries to the index, since it was last deleted
}

// A tagEntry is a record of the journal.
type tagEntry struct {
	number int
	nonce  string
	tags   string // with spaces between them, or "%all"
}

// An indexed is an entry of the index. Each time that it is added it has another number, as it has another score.
type indexed struct {
	name   string
	number int
	life   int
}

// mark returns the last record, and what is held.
func (b *books) mark(nonce string) (last tagEntry, held []string) {
	if len(b.journal) == 0 {
		b.append(nonce, "")
	}
	for member, life := range b.held {
		if _, tag, _ := strings.Cut(member, " "); life > 0 {
			held = append(held, tag)
		}
	}
	slices.Sort(held)
	return b.journal[len(b.journal)-1], held
}

func (b *books) append(nonce, tags string) {
	if b.life == 0 {
		b.held = make(map[string]int) // the key has expired
	}
	b.written++
	b.journal = append(b.journal, tagEntry{b.written, nonce, tags})
	b.life = max(b.life, 5)
}

// since returns the tags of later records; false if the record is gone, or a later one is about all.
func (b *books) since(number int, nonce string) (tags string, ok bool) {
	i := slices.IndexFunc(b.journal, func(e tagEntry) bool { return e.number == number && e.nonce == nonce })
	if i < 0 {
		return "", false
	}
	var all []string
	for _, e := range b.journal[i+1:] {
		if e.tags == "%all" {
			return "", false
		}
		all = append(all, e.tags)
	}
	return strings.Join(all, " "), true
}

// record has a holder hold tags, if its life is not -1, and returns the number of the record, which is there if it is sent again.
func (b *books) record(nonce, holder string, life, lag int, tags []string) (number int) {
	if b.life == 0 {
		b.held = make(map[string]int) // the key has expired
	}
	for _, tag := range tags {
		b.place(holder, life, lag, tag)
	}
	names := strings.Join(tags, " ")
	i := slices.IndexFunc(b.journal, func(e tagEntry) bool { return e.nonce == nonce && e.tags == names })
	if b.life = max(b.life, 5, life, lag); i < 0 {
		b.append(nonce, names)
		i = len(b.journal) - 1
	}
	number = b.journal[i].number
	b.journal = b.journal[max(0, len(b.journal)-kept):]
	return number
}

// place reports whether the holder has held the tag until now.
func (b *books) place(holder string, life, lag int, tag string) (was bool) {
	was = b.held[holder+" "+tag] > 0
	if life >= 0 {
		b.held[holder+" "+tag] = life
	}
	if lag >= 0 {
		b.held[fmt.Sprintf("lag/%d %s", milliseconds(lag), tag)] = lag
	}
	return was
}

// hold returns what the script does: whether the holder has not held one of the tags until now, or a record is gone. A life of -1
// ends its holds.
func (b *books) hold(holder string, life, lag int, recordGone bool, tags []string) (answer int64) {
	if b.life == 0 {
		b.held = make(map[string]int) // the key has expired
	}
	maps.DeleteFunc(b.held, func(_ string, life int) bool { return life == 0 })
	if answer = 1; recordGone {
		answer = 2
	}
	for _, tag := range tags {
		if !b.place(holder, life, lag, tag) {
			answer = 2
		}
	}
	for _, life := range b.held {
		b.life = max(b.life, life)
	}
	for _, tag := range tags {
		if life < 0 {
			delete(b.held, holder+" "+tag)
		}
	}
	if len(b.journal) == 0 && len(b.held) == 0 {
		b.life = 0
	}
	return answer
}

func (b *books) enter(names []string, lives []int) {
	maps.DeleteFunc(b.index, func(_ string, e indexed) bool { return e.life == 0 })
	for i, name := range names {
		b.added++
		b.index[name] = indexed{name, b.added, max(lives[i], b.index[name].life)}
		b.indexLife = max(b.indexLife, lives[i])
	}
}

func (b *books) remove(e indexed) {
	if b.index[e.name].number == e.number {
		delete(b.index, e.name)
	}
}

// A tagRig is one sequence of commands.
type tagRig struct {
	rig
	books  books
	ids    map[*server][]string           // of the records, by number-1
	scores map[*server]map[indexed]string // of the entries, without their lives
	past   []indexed
	nonce  int
}

// Names that a script might take for something else are among these.
var (
	someTags    = []string{"a", "all", "tag", "lag", "nonce", "b%20c"}
	someEntries = []string{"product:1", "product:2", "list:", "1", "-1"}
	someHolders = []string{"tx0", "tx1", ""} // the last one holds nothing
)

func pick[T any](r *rand.Rand, from []T) []T {
	from = slices.Clone(from)
	r.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	return from[:1+r.IntN(3)]
}

func (r *tagRig) nextNonce() string {
	r.nonce++
	return "n" + strconv.Itoa(r.nonce)
}

// ms is a life as scripts get it; -1 stands for none.
func milliseconds(life int) int {
	switch life {
	case -1:
		return 0
	case 0:
		return 1
	default:
		return life * 100_000
	}
}

func (r *tagRig) step() {
	switch r.random.IntN(12) {
	case 0, 1:
		r.mark()
	case 2, 3:
		r.record()
	case 4, 5:
		r.since()
	case 6, 7:
		r.hold()
	case 8, 9:
		r.enter(pick(r.random, someEntries))
	case 10:
		for range 3 { // within the same ms
			if names := r.unindex(); len(names) > 0 {
				r.enter(names)
			}
		}
	case 11:
		r.evict()
	}
}

func (r *tagRig) mark() {
	nonce := r.nextNonce()
	last, held := r.books.mark(nonce)
	r.run("mark", journal, func(*server) []any { return []any{nonce, 500_000} },
		func(s *server, reply any) any {
			list, _ := reply.([]any)
			fields := strings.Split(fmt.Sprint(list[1:]...), " ")
			slices.Sort(fields[2:])
			r.know(s)
			return fmt.Sprint(list[0], r.numberOf(s, fields[0], fields[1]), fields[1:])
		},
		fmt.Sprint(1, last.number, append([]string{last.nonce}, held...)))
}

// kept is how many records a journal has at most, few enough for this test to go beyond it.
const kept = 5

func (r *tagRig) record() {
	nonce, tags := r.nextNonce(), []string{"%all"}
	if r.random.IntN(8) > 0 {
		tags = pick(r.random, someTags)
	}
	if n := len(r.books.journal); n > 0 && r.random.IntN(4) == 0 { // it is sent again, late
		if e := r.books.journal[r.random.IntN(n)]; e.tags != "" {
			nonce, tags = e.nonce, strings.Split(e.tags, " ")
		}
	}
	holder, life, lag := r.holding()
	made := r.books.record(nonce, holder, life, lag, tags)
	args := []any{nonce, 500_000, kept, holder, milliseconds(life), milliseconds(lag)}
	for _, tag := range tags {
		args = append(args, tag)
	}
	r.run("record", journal, func(*server) []any { return args }, func(s *server, reply any) any {
		list, _ := reply.([]any)
		r.know(s)
		return fmt.Sprint(list[0], r.numberOf(s, fmt.Sprint(list[1]), nonce))
	}, fmt.Sprint(1, made))
	r.pass(life, lag)
}

// holding is who holds tags, and for how long: a life of -1 is not at all.
func (r *tagRig) holding() (holder string, life, lag int) {
	holder = someHolders[r.random.IntN(len(someHolders))]
	life, lag = []int{0, 6, 12}[r.random.IntN(3)], []int{-1, -1, 0, 6, 12}[r.random.IntN(5)]
	if holder != "" {
		holder = fmt.Sprintf("%s/%d", holder, milliseconds(life))
	}
	if holder == "" || r.random.IntN(3) == 0 {
		life = -1
	}
	return holder, life, lag
}

// anyRecord is one of the journal, or one that is gone, or never was.
func (r *tagRig) anyRecord() (number int, nonce string) {
	number, nonce = 1+r.random.IntN(r.books.written), "another"
	if n := len(r.books.journal); n > 0 && r.random.IntN(2) == 0 {
		number = r.books.journal[r.random.IntN(n)].number
	}
	if i := slices.IndexFunc(r.books.journal, func(e tagEntry) bool { return e.number == number }); i >= 0 && r.random.IntN(8) > 0 {
		nonce = r.books.journal[i].nonce
	}
	return number, nonce
}

func (r *tagRig) since() {
	if r.books.written == 0 {
		return
	}
	which, nonce := r.anyRecord()
	tags, ok := r.books.since(which, nonce)
	code := map[bool]int64{true: 1}[ok]
	r.run("since", journal, func(s *server) []any { return []any{r.ids[s][which-1], nonce} },
		func(_ *server, reply any) any { return fmt.Sprint(reply) }, fmt.Sprint([]any{code, tags}))
}

func (r *tagRig) hold() {
	holder, life, lag := r.holding()
	tags, which, nonce := pick(r.random, someTags), 0, ""
	if r.books.written > 0 && r.random.IntN(2) == 0 {
		which, nonce = r.anyRecord()
	}
	there := slices.ContainsFunc(r.books.journal, func(e tagEntry) bool { return e.number == which && e.nonce == nonce })
	answer := r.books.hold(holder, life, lag, which > 0 && !there, tags)
	r.run("holdtags", journal, func(s *server) []any {
		args := []any{holder, milliseconds(life), milliseconds(lag), nonce, ""}
		if which > 0 {
			args[4] = r.ids[s][which-1]
		}
		for _, tag := range tags {
			args = append(args, tag)
		}
		return args
	}, number, answer)
	r.pass(life, lag)
}

func (r *tagRig) enter(names []string) {
	lives := make([]int, len(names))
	var args []any
	for i, name := range names {
		lives[i] = []int{0, 6, 12}[r.random.IntN(3)]
		if r.books.indexLife == 0 {
			lives[i] = 6 // else the key would end, with its count, at some time of the test
		}
		args = append(args, name, milliseconds(lives[i]))
	}
	r.books.enter(names, lives)
	r.run("index", tagIndex, func(*server) []any { return args }, number, int64(1))
	for _, name := range names {
		r.past = append(r.past, r.books.index[name])
	}
	r.knowScores()
	r.pass(lives...)
}

// unindex takes entries from the index, unless they have been added again, and returns their names.
func (r *tagRig) unindex() (names []string) {
	if len(r.past) == 0 {
		return nil
	}
	var gone []indexed
	for range 1 + r.random.IntN(3) {
		e := r.past[r.random.IntN(len(r.past))]
		if now, ok := r.books.index[e.name]; ok && r.random.IntN(2) == 0 {
			e = now
		}
		gone, names = append(gone, e), append(names, e.name)
		r.books.remove(e)
	}
	r.run("unindex", tagIndex, func(s *server) []any {
		var args []any
		for _, e := range gone {
			args = append(args, e.name, r.scores[s][indexed{name: e.name, number: e.number}])
		}
		return args
	}, number, int64(1))
	slices.Sort(names)
	return slices.Compact(names)
}

// evict deletes a key, or the first record of the journal.
func (r *tagRig) evict() {
	which := r.random.IntN(4)
	r.log = append(r.log, fmt.Sprint("evict ", which))
	for _, s := range r.servers {
		var err error
		switch which {
		case 0:
			err = s.client.Del(r.t.Context(), journal).Err()
		case 1:
			err = s.client.ZRemRangeByScore(r.t.Context(), journal, "-inf", "(1e14").Err()
		case 2:
			err = s.client.Del(r.t.Context(), tagIndex).Err()
		case 3:
			if records := s.records(r.t); len(records) > 1 {
				err = s.client.ZRem(r.t.Context(), journal, records[0].Member).Err()
			}
		}
		r.must(err)
	}
	switch which {
	case 0:
		r.books.journal, r.books.held, r.books.life = nil, make(map[string]int), 0
	case 1:
		r.books.held = make(map[string]int)
		if len(r.books.journal) == 0 {
			r.books.life = 0
		}
	case 2:
		r.books.index, r.books.indexLife, r.books.added = make(map[string]indexed), 0, 0
		r.past = nil
		for _, s := range r.servers {
			r.scores[s] = make(map[indexed]string)
		}
	case 3:
		r.books.journal = slices.Delete(r.books.journal, 0, min(1, max(0, len(r.books.journal)-1)))
	}
}

// pass lets the shortest lives end.
func (r *tagRig) pass(lives ...int) {
	if !slices.Contains(lives, 0) {
		return
	}
	for _, s := range r.servers {
		for before := s.now(r.t); s.now(r.t) < before+3; {
		}
		if s.fastForward != nil {
			s.fastForward(3 * time.Millisecond)
		}
	}
}

func number(_ *server, reply any) any { return reply }

// run runs a script on all servers and compares what they answer.
func (r *tagRig) run(
	script, key string, args func(*server) []any, read func(s *server, reply any) any, want any,
) {
	r.t.Helper()
	r.log = append(r.log, fmt.Sprintf("%s %v: %v, then %+v", script, args(r.servers[0]), want, r.books))
	for _, s := range r.servers {
		reply, err := s.scripts[script].Run(r.t.Context(), s.client, []string{key}, args(s)...).Result()
		r.must(err)
		if got := read(s, reply); got != want {
			r.t.Errorf("%s answers %v to %s, and the books say %v", s.name, got, script, want)
		}
	}
}

// know learns the ids of the records that a server has made.
func (r *tagRig) know(s *server) (records []tagEntry) {
	for i, record := range s.records(r.t) {
		id := strconv.FormatFloat(record.Score, 'f', 0, 64)
		if i < len(r.books.journal) && r.books.journal[i].number > len(r.ids[s]) {
			r.ids[s] = append(r.ids[s], id)
		}
		nonce, tags, _ := strings.Cut(record.Member.(string), " ")
		records = append(records, tagEntry{r.numberOf(s, id, nonce), nonce, tags})
	}
	return records
}

// records reads the journal without the tags that are held.
func (s *server) records(t *testing.T) []redis.Z {
	records, err := s.client.ZRangeByScoreWithScores(t.Context(), journal, &redis.ZRangeBy{Min: "1e14", Max: "+inf"}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// numberOf tells which record has an id. A new journal may begin with the id of an older record, within the same ms.
func (r *tagRig) numberOf(s *server, id, nonce string) int {
	for _, e := range r.books.journal {
		if e.number <= len(r.ids[s]) && r.ids[s][e.number-1] == id && e.nonce == nonce {
			return e.number
		}
	}
	return 0
}

// knowScores learns the scores of the entries that were added. An entry never has a score again.
func (r *tagRig) knowScores() {
	for _, s := range r.servers {
		for name, e := range r.books.index {
			score, err := s.client.ZScore(r.t.Context(), tagIndex, name).Result()
			r.must(err)
			e.life = 0
			text := strconv.FormatFloat(score, 'f', 0, 64)
			for before, old := range r.scores[s] {
				if before.name == name && before.number != e.number && old == text {
					r.t.Errorf("%s adds %s to the index with the score %s again", s.name, name, text)
				}
			}
			r.scores[s][e] = text
		}
	}
}

// check compares all that a server has with the books.
func (r *tagRig) check() {
	r.t.Helper()
	for _, s := range r.servers {
		var got, want []string
		for _, e := range r.know(s) {
			got = append(got, fmt.Sprintf("record %+v", e))
		}
		for _, e := range r.books.journal {
			want = append(want, fmt.Sprintf("record %+v", e))
		}
		for member, life := range r.books.held {
			want = append(want, fmt.Sprint("held ", member, " ", life))
		}
		if r.books.life > 0 {
			want = append(want, fmt.Sprint("journal lives ", r.books.life))
		} else { // the key has expired, or is about to
			want = slices.DeleteFunc(want, func(w string) bool { return strings.HasPrefix(w, "held") })
		}
		for name, e := range r.books.index {
			want = append(want, fmt.Sprint("entry ", name, " ", e.number, " ", e.life))
		}
		if r.books.added > 0 {
			want = append(want, fmt.Sprint("added ", r.books.added), fmt.Sprint("index lives ", r.books.indexLife))
		}
		got = append(got, r.lives(s)...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			r.t.Errorf("%s has %q, and the books %q", s.name, got, want)
		}
	}
}

// lives tells the held tags, the index, and how long the keys live.
func (r *tagRig) lives(s *server) (all []string) {
	now := s.now(r.t)
	sorted := func(key string) []redis.Z {
		members, err := s.client.ZRangeWithScores(r.t.Context(), key, 0, -1).Result()
		r.must(err)
		return members
	}
	for key, what := range map[string]string{journal: "journal lives", tagIndex: "index lives"} {
		left, err := s.client.PTTL(r.t.Context(), key).Result()
		r.must(err)
		if left > 0 {
			all = append(all, fmt.Sprint(what, " ", life(float64(left.Milliseconds()))))
		}
	}
	for _, z := range sorted(journal) {
		if z.Score >= 1e14 {
			continue // a record
		}
		all = append(all, fmt.Sprint("held ", z.Member, " ", life(z.Score-float64(now))))
	}
	for _, z := range sorted(tagIndex) {
		if z.Member == "" {
			all = append(all, fmt.Sprint("added ", int(-z.Score)))
			continue
		}
		number := 0
		for e, score := range r.scores[s] {
			if e.name == z.Member && score == strconv.FormatFloat(z.Score, 'f', 0, 64) {
				number = cmp.Or(number, e.number)
			}
		}
		all = append(all, fmt.Sprint("entry ", z.Member, " ", number, " ", life(z.Score/1000-float64(now))))
	}
	return all
}

// life is the life that is left, in the unit of the books.
func life(ms float64) int { return int(math.Round(ms / 100_000)) }
