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
	heldSet  = "{aside-tags}-held"
	tagIndex = "aside-tag=a"
)

// Lives are in units of 100 s, so that the few ms which a test takes make no difference; 0 is 1 ms, which is over before
// the next command.
type books struct {
	journal   []tagEntry
	written   int            // records ever
	held      map[string]int // by holder and tag, for how long
	heldLife  int            // of the key
	index     map[string]indexed
	indexLife int
	added     int // entries to the index, since it was last deleted
}

// A tagEntry is a record of the journal.
type tagEntry struct {
	number int
	nonce  string
	fields string // "tag a tag b", or "all "
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

func (b *books) append(nonce, fields string) {
	b.written++
	b.journal = append(b.journal, tagEntry{b.written, nonce, fields})
}

// since returns the tags of later records; false if the record is gone, or a later one is about all.
func (b *books) since(number int, nonce string) (tags string, ok bool) {
	i := slices.IndexFunc(b.journal, func(e tagEntry) bool { return e.number == number && e.nonce == nonce })
	if i < 0 {
		return "", false
	}
	var all []string
	for _, e := range b.journal[i+1:] {
		fields := strings.Split(e.fields, " ")
		for j := 0; j+1 < len(fields); j += 2 {
			if fields[j] == "all" {
				return "", false
			}
			all = append(all, fields[j+1])
		}
	}
	return strings.Join(all, " "), true
}

// hold returns what the script does: whether the holder has not held one of the tags before.
func (b *books) hold(token string, life, lag int, tags []string) (answer int64) {
	maps.DeleteFunc(b.held, func(_ string, life int) bool { return life == 0 })
	answer = 1
	for _, tag := range tags {
		lagging := "lag " + tag
		if _, held := b.held[token+" "+tag]; life >= 0 && !held {
			answer = 2
		}
		switch {
		case token == "lag" && life >= 0:
			b.held[lagging] = max(life, b.held[lagging])
		case life >= 0:
			b.held[token+" "+tag] = life
		case token != "lag":
			delete(b.held, token+" "+tag)
		}
		if lag >= 0 {
			b.held[lagging] = max(lag, b.held[lagging])
		}
	}
	b.heldLife = 0
	for _, life := range b.held {
		b.heldLife = max(b.heldLife, life)
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
	someHolders = []string{"tx0", "tx1", "lag"}
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
	r.run("scriptMark", []string{journal, heldSet}, func(*server) []any { return []any{nonce, 500_000} },
		func(s *server, reply any) any {
			list, _ := reply.([]any)
			fields := strings.Split(fmt.Sprint(list[1:]...), " ")
			slices.Sort(fields[2:])
			r.know(s)
			return fmt.Sprint(list[0], r.numberOf(s, fields[0], fields[1]), fields[1:])
		},
		fmt.Sprint(1, last.number, append([]string{last.nonce}, held...)))
}

func (r *tagRig) record() {
	nonce, fields := r.nextNonce(), "all "
	if r.random.IntN(8) > 0 {
		fields = "tag " + strings.Join(pick(r.random, someTags), " tag ")
	}
	r.books.append(nonce, fields)
	args := []any{nonce, 500_000, 4096}
	for f := range strings.SplitSeq(fields, " ") {
		args = append(args, f)
	}
	r.run("scriptRecord", []string{journal}, func(*server) []any { return args }, number, int64(1))
}

func (r *tagRig) since() {
	if r.books.written == 0 {
		return
	}
	which, nonce := 1+r.random.IntN(r.books.written), "another"
	if n := len(r.books.journal); n > 0 && r.random.IntN(2) == 0 {
		which = r.books.journal[r.random.IntN(n)].number
	}
	if i := slices.IndexFunc(r.books.journal, func(e tagEntry) bool { return e.number == which }); i >= 0 && r.random.IntN(8) > 0 {
		nonce = r.books.journal[i].nonce
	}
	tags, ok := r.books.since(which, nonce)
	code := map[bool]int64{true: 1}[ok]
	r.run("scriptSince", []string{journal}, func(s *server) []any { return []any{r.ids[s][which-1], nonce} },
		func(_ *server, reply any) any { return fmt.Sprint(reply) }, fmt.Sprint([]any{code, tags}))
}

func (r *tagRig) hold() {
	token, tags := someHolders[r.random.IntN(len(someHolders))], pick(r.random, someTags)
	life, lag := []int{-1, 0, 6, 12}[r.random.IntN(4)], []int{-1, -1, 0, 6, 12}[r.random.IntN(5)]
	answer := r.books.hold(token, life, lag, tags)
	args := []any{token, milliseconds(life), milliseconds(lag)}
	for _, tag := range tags {
		args = append(args, tag)
	}
	r.run("scriptHoldTags", []string{heldSet}, func(*server) []any { return args }, number, answer)
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
	r.run("scriptIndex", []string{tagIndex}, func(*server) []any { return args }, number, int64(1))
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
	r.run("scriptUnindex", []string{tagIndex}, func(s *server) []any {
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
			err = s.client.Del(r.t.Context(), heldSet).Err()
		case 2:
			err = s.client.Del(r.t.Context(), tagIndex).Err()
		case 3:
			err = s.client.XTrimMaxLen(r.t.Context(), journal, max(1, int64(len(r.books.journal)-1))).Err()
		}
		r.must(err)
	}
	switch which {
	case 0:
		r.books.journal = nil
	case 1:
		r.books.held, r.books.heldLife = make(map[string]int), 0
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
	script string, keys []string, args func(*server) []any, read func(s *server, reply any) any, want any,
) {
	r.t.Helper()
	r.log = append(r.log, fmt.Sprintf("%s %v: %v, then %+v", script, args(r.servers[0]), want, r.books))
	for _, s := range r.servers {
		reply, err := s.scripts[script].Run(r.t.Context(), s.client, keys, args(s)...).Result()
		r.must(err)
		if got := read(s, reply); got != want {
			r.t.Errorf("%s answers %v to %s, and the books say %v", s.name, got, script, want)
		}
	}
}

// know learns the ids of the records that a server has made.
func (r *tagRig) know(s *server) (records []tagEntry) {
	list, err := s.client.Do(r.t.Context(), "XRANGE", journal, "-", "+").Slice()
	r.must(err)
	for i, record := range list {
		id, fields := record.([]any)[0].(string), record.([]any)[1].([]any)
		if i < len(r.books.journal) && r.books.journal[i].number > len(r.ids[s]) {
			r.ids[s] = append(r.ids[s], id)
		}
		text := make([]string, len(fields))
		for j, f := range fields {
			text[j] = f.(string)
		}
		records = append(records, tagEntry{r.numberOf(s, id, text[1]), text[1], strings.Join(text[2:], " ")})
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
		if len(r.books.journal) > 0 {
			want = append(want, "journal lives 5")
		}
		for member, life := range r.books.held {
			want = append(want, fmt.Sprint("held ", member, " ", life))
		}
		if r.books.heldLife > 0 {
			want = append(want, fmt.Sprint("held lives ", r.books.heldLife))
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
	for key, what := range map[string]string{journal: "journal lives", heldSet: "held lives", tagIndex: "index lives"} {
		left, err := s.client.PTTL(r.t.Context(), key).Result()
		r.must(err)
		if left > 0 {
			all = append(all, fmt.Sprint(what, " ", life(float64(left.Milliseconds()))))
		}
	}
	for _, z := range sorted(heldSet) {
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
