package replay

import (
	"testing"

	"github.com/causality-project/causality/sdk/vectors"
)

func TestEveryVectorComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, name := range vectors.Files() {
		file, err := vectors.File(name)
		if err != nil {
			t.Fatal(err)
		}
		list, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		if list.Len() == 0 {
			t.Errorf("%s holds no vector", name)
		}
		for i := range list.Len() {
			want, err := list.Get(i)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Replay(name, want)
			if err != nil || string(got) != string(want) {
				t.Errorf("%s, vector %d: %v\n got %s\nwant %s", name, i, err, got, want)
			}
		}
	}
}

func TestWhatIsNoVectorIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Read([]byte("{")); err == nil {
		t.Error("a broken file was read")
	}
	if _, err := Replay("absent.json", []byte("{}")); err == nil {
		t.Error("a file that does not exist was replayed")
	}
	if _, err := (*Vectors)(nil).Get(0); err == nil {
		t.Error("nothing has a vector")
	}
}
