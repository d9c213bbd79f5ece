package demo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// History is how many days the demo shows, today included.
const History = 90

// The story of the shop, in days since its first.
const (
	launchDay      = 52 // the autumn box, and a wave of newcomers
	badReleaseDay  = 68 // android 3.2.0 fails at checkout …
	goodReleaseDay = 73 // … until 3.2.1

	before = 45 // days that the shop was open before the history: regulars exist from its first day
	seed   = 0x0CA5A117
)

// Event is one event of the shop, before it is told to any server.
type Event struct {
	ID          [16]byte
	Identify    bool // else something that somebody did
	Name        string
	Time        time.Time
	UserID      string
	AnonymousID string
	SessionID   string
	Groups      map[string]string
	Visit       *Visit
	Page        Page
	Properties  []Property // of an Identify: the traits
}

// Property keeps the order that it was written in.
type Property struct {
	Name  string
	Value any // text, bool, int or float64
}

// Page is what was open, for events of the web.
type Page struct{ Path, Title string }

// Visit is what the events of one session share.
type Visit struct {
	Platform   string // web, ios, android, server
	AppVersion string
	device     device
	market     market
	source     source
}

// World makes the same shop again from its first day: who comes on a day, and
// what they do, depends on nothing but the day's number. A killed seeding can be
// repeated, and a later start continues where the last one ended.
type World struct {
	start  time.Time // first day, midnight UTC
	people []person
	upTo   int // days that people are made for
}

// person is a future visitor. Everything about one follows from the number.
type person struct {
	number   int
	arrives  int // day
	signUp   int // day, -1: never
	platform string
	device   device
	market   market
	source   source
	loyalty  float64 // factor on coming back
	plus     int     // day of the subscription, -1: none
	company  string
}

// NewWorld starts a shop on the UTC day of start.
func NewWorld(start time.Time) *World {
	return &World{start: start.UTC().Truncate(24 * time.Hour), upTo: -before}
}

// Day is the number of the day that t is in.
func (w *World) Day(t time.Time) int {
	return int(math.Floor(t.Sub(w.start).Hours() / 24))
}

// Begin is when a day begins.
func (w *World) Begin(day int) time.Time { return w.start.AddDate(0, 0, day) }

// Events makes the events of a day in the order of time. A visit that begins
// before midnight ends after it.
func (w *World) Events(day int) []Event {
	w.populate(day)
	var events []Event
	for i := range w.people {
		p := &w.people[i]
		if p.arrives > day {
			break
		}
		random := dice(uint64(p.number), uint64(day))
		if p.comes(day, w.Begin(day).Weekday(), random) {
			v := newVisit(w, p, day, random)
			events = append(events, v.happen()...)
		}
		if p.plus >= 0 && day >= p.plus && (day-p.plus)%30 == 0 {
			events = append(events, w.invoice(p, day, random))
		}
	}
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return events
}

// Extra is a visit that is not part of the story, for traffic while somebody
// watches: a newcomer's, or a known person's, beginning now.
func (w *World) Extra(now time.Time, number uint64) []Event {
	day := w.Day(now)
	w.populate(day)
	random := dice(number, uint64(now.UnixNano()))
	p := &w.people[len(w.people)-1-random.IntN(min(4_000, len(w.people)))]
	v := newVisit(w, p, day, random)
	v.now = now
	return v.happen()
}

// newcomers is how many arrive on a day: growth, the week, and the launch.
func newcomers(day int, weekday time.Weekday) (usual, launched int) {
	week := [...]float64{time.Sunday: 1.22, time.Monday: 1.02, time.Tuesday: 0.94, time.Wednesday: 0.92, time.Thursday: 0.95, time.Friday: 0.96, time.Saturday: 1.12}[weekday]
	growth := 1 + 0.55*float64(day)/History
	wobble := 0.94 + 0.12*dice(7, uint64(day)).Float64()
	usual = int(192 * week * growth * wobble)
	if since := day - launchDay; since >= 0 && since < 8 {
		launched = int(900 * math.Exp(-0.75*float64(since)))
	}
	return usual, launched
}

func (w *World) populate(day int) {
	for ; w.upTo <= day; w.upTo++ {
		usual, launched := newcomers(w.upTo, w.Begin(w.upTo).Weekday())
		for i := range usual + launched {
			w.people = append(w.people, newPerson(len(w.people), w.upTo, i >= usual))
		}
	}
}

func newPerson(number, day int, launched bool) person {
	random := dice(uint64(number), 1<<40)
	p := person{number: number, arrives: day, signUp: -1, plus: -1, loyalty: 0.4 + 1.2*random.Float64()}
	p.market = pick(random, markets, func(m market) float64 { return m.weight })
	p.source = pick(random, sources, func(s source) float64 { return s.weight })
	switch platform := random.Float64(); {
	case platform < 0.56:
		p.platform, p.device = "web", pick(random, browsers, weightOf)
	case platform < 0.80:
		p.platform, p.device = "ios", pick(random, iPhones, weightOf)
	default:
		p.platform, p.device = "android", pick(random, androids, weightOf)
		p.loyalty *= 0.85
	}
	if p.platform != "web" { // apps are opened from their icon
		p.source = source{buys: 1.1}
		p.loyalty *= 1.25
	}
	if launched {
		p.source, p.loyalty = launch, p.loyalty*0.45
	}
	if random.Float64() < 0.34*math.Min(p.source.buys, 1.2) {
		p.signUp = day
		if random.Float64() < 0.35 {
			p.signUp += 1 + random.IntN(9)
		}
		p.loyalty *= 1.5
		if random.Float64() < 0.10 {
			p.plus = p.signUp + random.IntN(12)
		}
		if random.Float64() < 0.05 {
			p.company = companies[random.IntN(len(companies))]
		}
	}
	return p
}

// comes decides a day's visit: certainly on the day of arrival and of signing
// up, and less often as time passes, with a core that stays.
func (p *person) comes(day int, weekday time.Weekday, random *rand.Rand) bool {
	roll := random.Float64()
	if day == p.arrives || day == p.signUp {
		return true
	}
	age := float64(day - p.arrives)
	chance := p.loyalty * (0.16*math.Pow(age, -0.75) + 0.022)
	if weekday == time.Saturday || weekday == time.Sunday {
		chance *= 1.15
	}
	return roll < chance
}

func (p *person) userID(day int) string {
	if p.signUp < 0 || day < p.signUp {
		return ""
	}
	return fmt.Sprintf("u-%06d", p.number)
}

func (p *person) anonymousID() string {
	random := dice(uint64(p.number), 2<<40)
	return fmt.Sprintf("%016x", random.Uint64())
}

func (p *person) name() (string, string) {
	random := dice(uint64(p.number), 3<<40)
	return given[random.IntN(len(given))], family[random.IntN(len(family))]
}

// appVersion follows the releases; half of the people update on the first day.
func (p *person) appVersion(day int) string {
	late := p.number % 4 // days
	switch d := day - late/2; {
	case p.platform == "web":
		return ""
	case p.platform == "android" && d >= goodReleaseDay:
		return "3.2.1"
	case d >= badReleaseDay:
		return "3.2.0"
	case d >= 30:
		return "3.1.0"
	default:
		return "3.0.2"
	}
}

// visit is one session while it happens.
type visit struct {
	world   *World
	person  *person
	day     int
	random  *rand.Rand
	shared  *Visit
	session string
	userID  string
	now     time.Time
	events  []Event
}

func newVisit(w *World, p *person, day int, random *rand.Rand) *visit {
	v := &visit{world: w, person: p, day: day, random: random, userID: p.userID(day)}
	if day == p.signUp {
		v.userID = "" // signs up within this visit
	}
	source := p.source
	if day != p.arrives && random.Float64() < 0.7 {
		source.utmSource, source.utmMedium, source.utmCampaign, source.referrer = "", "", "", "" // comes back directly
	}
	v.shared = &Visit{Platform: p.platform, AppVersion: p.appVersion(day), device: p.device, market: p.market, source: source}
	v.now = w.Begin(day).Add(hourOfDay(random, p.market.offset))
	v.session = fmt.Sprintf("s-%016x", random.Uint64())
	return v
}

// hourOfDay draws a time of day: quiet nights, a hill at lunch, a peak at eight
// in the evening, local time.
func hourOfDay(random *rand.Rand, offset int) time.Duration {
	for {
		hour := random.Float64() * 24
		local := math.Mod(hour+float64(offset)+24, 24)
		weight := 0.06 + 0.55*bell(local, 12.5, 3.2) + 0.9*bell(local, 20, 2.4) + 0.25*bell(local, 8, 1.6)
		if random.Float64() < weight {
			return time.Duration(hour * float64(time.Hour))
		}
	}
}

func bell(x, middle, width float64) float64 {
	return math.Exp(-(x - middle) * (x - middle) / (2 * width * width))
}

// happen plays the visit: look around, look at products, and leave somewhere on
// the way to the till.
func (v *visit) happen() []Event {
	v.arrive()
	if v.chance(0.22) {
		query := searches[v.random.IntN(len(searches))]
		results := v.random.IntN(12)
		if query == "bonsai" {
			results = 0
		}
		v.do("search", Page{"/search", "Search"}, Property{"query", query}, Property{"results", results})
	}
	if v.person.signUp == v.day && v.userID == "" {
		v.signUp()
	}
	var seen []product
	for step := 0.60 * v.eager(0.3); len(seen) < 7 && v.chance(step); step = 0.55 {
		if v.shared.Platform == "web" && v.chance(0.5) || len(seen) == 0 && v.shared.Platform == "web" {
			v.look(Page{"/products", "Plants"})
		}
		p := pick(v.random, products, func(p product) float64 { return p.weight })
		if v.shared.source.utmCampaign == launch.utmCampaign && v.chance(0.6) {
			p = productByID(launchProduct)
		}
		v.do("product_view", Page{"/products/" + p.id, p.name}, Property{"product_id", p.id}, Property{"name", p.name},
			Property{"category", p.category}, Property{"brand", p.brand}, Property{"price", p.price}, Property{"currency", "EUR"})
		seen = append(seen, p)
	}
	if len(seen) > 0 {
		v.shop(seen)
	}
	if v.chance(0.04) && len(seen) > 0 {
		v.do("share", Page{"/products/" + seen[0].id, seen[0].name}, Property{"method", "link"}, Property{"content_type", "product"}, Property{"content_id", seen[0].id})
	}
	if v.shared.Platform != "web" {
		v.do("app_background", Page{}, Property{"foreground_ms", int(v.now.Sub(v.events[0].Time).Milliseconds())})
	}
	return v.events
}

func (v *visit) arrive() {
	if v.shared.Platform == "web" {
		first := Page{"/", "Plants for every window"}
		if v.shared.source.utmCampaign == launch.utmCampaign {
			first = Page{"/autumn", "The autumn box"}
		}
		v.look(first)
		for v.chance(0.35) {
			v.look([]Page{{"/products", "Plants"}, {"/care", "Plant care"}, {"/about", "About us"}, {"/delivery", "Delivery"}}[v.random.IntN(4)])
		}
		return
	}
	start := "launcher"
	if v.day != v.person.arrives && v.chance(0.18) {
		start = "notification"
		v.do("notification_opened", Page{}, Property{"campaign", "water_reminder"}, Property{"action", "open"})
	}
	v.do("app_start", Page{}, Property{"cold", v.chance(0.6)}, Property{"duration_ms", 300 + v.random.IntN(1_400)}, Property{"source", start})
	v.do("screen_view", Page{}, Property{"screen_name", "home"})
	for v.chance(0.3) {
		v.do("screen_view", Page{}, Property{"screen_name", []string{"plants", "care", "profile"}[v.random.IntN(3)]})
	}
}

func (v *visit) look(page Page) {
	v.do("page_view", page, Property{"path", page.Path}, Property{"title", page.Title})
}

func (v *visit) signUp() {
	first, last := v.person.name()
	v.userID = v.person.userID(v.day)
	plan := "free"
	v.do("user_signup", Page{"/signup", "Sign up"}, Property{"method", []string{"password", "google", "passkey"}[v.random.IntN(3)]}, Property{"plan", plan})
	e := v.event("")
	e.Identify = true
	e.Properties = []Property{
		{"name", first + " " + last},
		{"email", strings.ToLower(first+"."+last) + fmt.Sprint(v.person.number) + "@example.com"},
		{"plan", plan}, {"country", v.person.market.country}, {"signed_up_on", v.world.Begin(v.day).Format(time.DateOnly)},
	}
	v.events = append(v.events, e)
}

// shop goes from the cart to the purchase; most visits end before.
func (v *visit) shop(seen []product) {
	if !v.chance(0.30 * v.eager(0.6)) {
		return
	}
	cart := fmt.Sprintf("c-%08x", v.random.Uint32())
	items, value := 0, 0.0
	for i := range 1 + v.random.IntN(min(3, len(seen))) {
		p, quantity := seen[len(seen)-1-i], 1
		if v.chance(0.2) {
			quantity = 2
		}
		v.do("add_to_cart", Page{"/products/" + p.id, p.name}, Property{"product_id", p.id}, Property{"name", p.name}, Property{"category", p.category},
			Property{"price", p.price}, Property{"quantity", quantity}, Property{"currency", "EUR"}, Property{"cart_id", cart})
		items, value = items+quantity, value+float64(quantity)*p.price
	}
	value = cents(value)
	if v.chance(0.10) {
		v.do("remove_from_cart", Page{"/cart", "Cart"}, Property{"product_id", seen[len(seen)-1].id}, Property{"cart_id", cart})
		return
	}
	if !v.chance(0.58 * v.eager(0.4)) {
		return
	}
	v.do("checkout_start", Page{"/checkout", "Checkout"}, Property{"cart_id", cart}, Property{"value", value}, Property{"currency", "EUR"}, Property{"item_count", items})
	broken := v.shared.Platform == "android" && v.shared.AppVersion == "3.2.0"
	if broken && v.chance(0.7) {
		v.do("error", Page{}, Property{"exception_type", "PaymentSheetException"}, Property{"message", "payment sheet was closed by the system"},
			Property{"source", "checkout"}, Property{"handled", false})
		if v.chance(0.4) {
			v.do("app_crash", Page{}, Property{"exception_type", "IllegalStateException"}, Property{"message", "payment sheet has no owner"}, Property{"fatal", true})
		}
		return
	}
	if !v.chance(0.70 * v.eager(0.2)) {
		return
	}
	method := payments[v.random.IntN(len(payments))]
	order := fmt.Sprintf("o-%d-%06d", v.day, v.person.number)
	if v.chance(0.04) {
		v.do("purchase_failed", Page{"/checkout", "Checkout"}, Property{"order_id", order}, Property{"value", value}, Property{"currency", "EUR"},
			Property{"reason", "card_declined"}, Property{"payment_method", method})
		return
	}
	shipping := 4.90
	if value >= 40 {
		shipping = 0
	}
	v.do("purchase_complete", Page{"/checkout/done", "Thank you"}, Property{"order_id", order}, Property{"revenue", cents(value + shipping)}, Property{"currency", "EUR"},
		Property{"tax", cents(value * 0.19 / 1.19)}, Property{"shipping", shipping}, Property{"payment_method", method}, Property{"item_count", items})
	if v.userID != "" {
		shipped := v.event("order_shipped")
		shipped.Time = v.now.Add(time.Duration(6+v.random.IntN(30)) * time.Minute)
		shipped.SessionID, shipped.AnonymousID = "", ""
		shipped.Visit = &Visit{Platform: "server"}
		shipped.Properties = []Property{{"order_id", order}, {"carrier", []string{"post", "courier"}[v.random.IntN(2)]}, {"item_count", items}}
		v.events = append(v.events, shipped)
	}
}

// invoice is a subscription's monthly payment, told by the shop's server.
func (w *World) invoice(p *person, day int, random *rand.Rand) Event {
	name := "subscription_renewed"
	if day == p.plus {
		name = "subscription_started"
	}
	at := w.Begin(day).Add(time.Duration(3*60+random.IntN(120)) * time.Minute)
	return Event{
		ID: eventID(at, random), Name: name, Time: at, UserID: p.userID(day), Visit: &Visit{Platform: "server"},
		Properties: []Property{{"plan", "plus"}, {"revenue", 4.99}, {"currency", "EUR"}, {"interval", "month"}},
	}
}

// do records an event and lets some seconds pass.
func (v *visit) do(name string, page Page, properties ...Property) {
	e := v.event(name)
	e.Page, e.Properties = page, properties
	v.events = append(v.events, e)
	v.now = v.now.Add(time.Duration(2_000+v.random.ExpFloat64()*18_000) * time.Millisecond)
}

func (v *visit) event(name string) Event {
	e := Event{
		ID: eventID(v.now, v.random), Name: name, Time: v.now, UserID: v.userID, AnonymousID: v.person.anonymousID(),
		SessionID: v.session, Visit: v.shared,
	}
	if v.person.company != "" && v.userID != "" {
		e.Groups = map[string]string{"company": v.person.company}
	}
	return e
}

func (v *visit) chance(p float64) bool { return v.random.Float64() < p }

// eager is how much more, or less, this visitor moves on than the average: by
// where they came from, the platform, and whether they know the shop. share is
// how much of that counts at a step.
func (v *visit) eager(share float64) float64 {
	factor := v.person.source.buys
	switch v.shared.Platform {
	case "ios":
		factor *= 1.2
	case "android":
		factor *= 0.9
	}
	if v.userID != "" {
		factor *= 1.35
	}
	return 1 + share*(factor-1)
}

// eventID is a UUIDv7 of the event's time and the visit's own dice.
func eventID(at time.Time, random *rand.Rand) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16|random.Uint64()&0xffff)
	binary.BigEndian.PutUint64(id[8:], random.Uint64())
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

func dice(a, b uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed^a*0x9E3779B97F4A7C15, b*0xD1B54A32D192ED03+a))
}

func pick[T any](random *rand.Rand, from []T, weight func(T) float64) T {
	sum := 0.0
	for _, item := range from {
		sum += weight(item)
	}
	at := random.Float64() * sum
	for _, item := range from {
		if at -= weight(item); at < 0 {
			return item
		}
	}
	return from[len(from)-1]
}

func weightOf(d device) float64 { return d.weight }

func productByID(id string) product {
	for _, p := range products {
		if p.id == id {
			return p
		}
	}
	return products[0]
}

func cents(f float64) float64 { return math.Round(f*100) / 100 }
