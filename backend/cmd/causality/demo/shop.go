package demo

// The sample shop sells plants. All of it is made up; addresses end in
// example.com, which nobody can own.

type product struct {
	id, name, category, brand string
	price                     float64 // EUR
	weight                    float64 // how often it is looked at
}

var products = []product{
	{"p-101", "Monstera", "indoor", "Fernhill", 24.90, 9},
	{"p-102", "Snake plant", "indoor", "Fernhill", 18.50, 8},
	{"p-103", "Peace lily", "indoor", "Fernhill", 15.90, 6},
	{"p-104", "Rubber fig", "indoor", "Greenroom", 32.00, 5},
	{"p-105", "Spider plant", "indoor", "Greenroom", 9.90, 6},
	{"p-106", "Fiddle-leaf fig", "indoor", "Greenroom", 54.00, 4},
	{"p-107", "Calathea", "indoor", "Fernhill", 21.00, 4},
	{"p-201", "Lavender", "outdoor", "Southwall", 7.50, 6},
	{"p-202", "Olive tree", "outdoor", "Southwall", 79.00, 3},
	{"p-203", "Hydrangea", "outdoor", "Southwall", 16.90, 5},
	{"p-204", "Climbing rose", "outdoor", "Southwall", 19.90, 4},
	{"p-205", "Box hedge", "outdoor", "Southwall", 12.00, 2},
	{"p-301", "Basil", "herbs", "Sill", 3.90, 5},
	{"p-302", "Mint", "herbs", "Sill", 3.90, 4},
	{"p-303", "Rosemary", "herbs", "Sill", 4.90, 4},
	{"p-304", "Herb trio", "herbs", "Sill", 10.90, 3},
	{"p-401", "Terracotta pot", "pots", "Kiln", 11.50, 5},
	{"p-402", "Glazed pot", "pots", "Kiln", 22.00, 4},
	{"p-403", "Hanging basket", "pots", "Kiln", 17.00, 3},
	{"p-501", "Watering can", "tools", "Plainfield", 26.00, 3},
	{"p-502", "Secateurs", "tools", "Plainfield", 19.00, 2},
	{"p-503", "Potting mix", "tools", "Plainfield", 8.90, 5},
	{"p-601", "Autumn box", "sets", "Fernhill", 49.00, 2},
	{"p-602", "Beginner's set", "sets", "Fernhill", 39.00, 3},
}

const launchProduct = "p-601"

type market struct {
	country, region, city, locale string
	offset                        int // hours to UTC, roughly
	weight                        float64
}

var markets = []market{
	{"DE", "BE", "Berlin", "de-DE", 1, 22},
	{"DE", "BY", "Munich", "de-DE", 1, 10},
	{"GB", "ENG", "London", "en-GB", 0, 16},
	{"FR", "IDF", "Paris", "fr-FR", 1, 13},
	{"NL", "NH", "Amsterdam", "nl-NL", 1, 9},
	{"ES", "MD", "Madrid", "es-ES", 1, 8},
	{"IT", "25", "Milan", "it-IT", 1, 7},
	{"US", "NY", "New York", "en-US", -5, 9},
	{"US", "CA", "San Francisco", "en-US", -8, 4},
	{"PT", "11", "Lisbon", "pt-PT", 0, 2},
}

// source is how somebody came: it says who buys more, not only who comes.
type source struct {
	utmSource, utmMedium, utmCampaign, referrer string
	weight                                      float64
	buys                                        float64 // factor on every step towards a purchase
}

var sources = []source{
	{"", "", "", "", 34, 1},
	{"", "", "", "https://search.example.com/", 22, 1.1},
	{"google", "cpc", "brand", "https://search.example.com/", 12, 1.3},
	{"google", "cpc", "houseplants", "https://search.example.com/", 10, 0.85},
	{"instagram", "social", "green_living", "https://social.example.com/", 12, 0.65},
	{"newsletter", "email", "weekly", "", 7, 1.45},
	{"partner", "affiliate", "plant_blog", "https://blog.example.com/", 3, 1.15},
}

// launch brings many for a few days, of whom few stay.
var launch = source{"instagram", "social", "autumn_launch", "https://social.example.com/", 0, 0.8}

type device struct {
	os, osVersion, model, kind, browser, userAgent string
	weight                                         float64
}

var browsers = []device{
	{"Windows", "11", "", "desktop", "Chrome", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36", 34},
	{"macOS", "15.5", "", "desktop", "Safari", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", 18},
	{"macOS", "15.5", "", "desktop", "Chrome", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36", 12},
	{"Windows", "11", "", "desktop", "Firefox", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", 9},
	{"Android", "15", "Pixel 9", "phone", "Chrome", "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Mobile Safari/537.36", 15},
	{"iOS", "18.5", "iPhone", "phone", "Safari", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", 12},
}

var iPhones = []device{
	{"iOS", "18.5", "iPhone 16", "phone", "", "", 40},
	{"iOS", "18.4", "iPhone 15", "phone", "", "", 35},
	{"iOS", "17.7", "iPhone 13", "phone", "", "", 18},
	{"iPadOS", "18.5", "iPad Air", "tablet", "", "", 7},
}

var androids = []device{
	{"Android", "15", "Pixel 9", "phone", "", "", 25},
	{"Android", "15", "Galaxy S25", "phone", "", "", 35},
	{"Android", "14", "Galaxy A55", "phone", "", "", 28},
	{"Android", "13", "Redmi Note 13", "phone", "", "", 12},
}

var (
	searches  = []string{"monstera", "pet safe", "low light", "pot", "olive tree", "herbs", "gift", "fiddle leaf", "repotting", "bonsai"}
	given     = []string{"Ada", "Ben", "Carla", "David", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Liam", "Mina", "Noah", "Olga", "Pablo", "Quinn", "Rosa", "Sami", "Tilda", "Uma", "Viktor", "Wanda", "Yara", "Zeno"}
	family    = []string{"Adler", "Brandt", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Hansen", "Ito", "Jansen", "Keller", "Lopez", "Moreau", "Novak", "Okafor", "Peters", "Rossi", "Silva", "Turner", "Weber"}
	companies = []string{"acme-offices", "bluebird-cafes", "corner-hotels", "delta-studios", "evergreen-gyms"}
	payments  = []string{"card", "card", "paypal", "invoice", "wallet"}
)
