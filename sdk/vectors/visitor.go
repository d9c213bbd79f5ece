package vectors

import (
	"encoding/hex"
	"fmt"

	"github.com/causality-project/causality/sdk/core"
)

// visitor replays a script of visitor.json.
func visitor(vector []byte) ([]byte, error) {
	type filled struct {
		AnonymousID string            `json:"anonymousId,omitempty"`
		UserID      string            `json:"userId,omitempty"`
		SessionID   string            `json:"sessionId,omitempty"`
		Groups      map[string]string `json:"groups,omitempty"`
	}
	type is struct {
		AnonymousID string `json:"anonymousId,omitempty"`
		UserID      string `json:"userId,omitempty"`
		SessionID   string `json:"sessionId,omitempty"`
		Changed     bool   `json:"changed,omitempty"`
	}
	type step struct {
		At        core.Micros `json:"at"`
		Input     string      `json:"input"`
		Event     *event      `json:"event,omitempty"`
		UserID    string      `json:"userId,omitempty"`
		GroupType string      `json:"groupType,omitempty"`
		GroupID   string      `json:"groupId,omitempty"`
		State     string      `json:"state,omitempty"`
		Filled    *filled     `json:"filled,omitempty"`
		Visitor   is          `json:"visitor"`
	}
	type v struct {
		Name       string      `json:"name"`
		Seed       uint64      `json:"seed"`
		Idle       core.Micros `json:"idle,omitempty"`
		Background core.Micros `json:"background,omitempty"`
		Longest    core.Micros `json:"longest,omitempty"`
		Steps      []step      `json:"steps"`
	}
	return replay(vector, func(v *v) error {
		cfg := core.VisitorConfig{Idle: v.Idle, Background: v.Background, Longest: v.Longest, Random: splitMix(v.Seed)}
		visitor := core.NewVisitor(cfg, nil)
		for i := range v.Steps {
			s := &v.Steps[i]
			s.Filled = nil
			switch s.Input {
			case "fill":
				e := &core.Event{}
				if s.Event != nil {
					var err error
					if e, err = s.Event.core(); err != nil {
						return err
					}
				}
				visitor.Fill(s.At, e)
				s.Filled = &filled{e.AnonymousID, e.UserID, e.SessionID, e.Groups}
			case "identify":
				visitor.Identify(s.At, s.UserID)
			case "join":
				visitor.Join(s.GroupType, s.GroupID)
			case "reset":
				visitor.Reset(s.At)
			case "background":
				visitor.Background(s.At)
			case "foreground":
				visitor.Foreground(s.At)
			case "restart":
				state := visitor.State()
				s.State = hex.EncodeToString(state)
				visitor = core.NewVisitor(cfg, state)
			case "load":
				state, err := hex.DecodeString(s.State)
				if err != nil {
					return err
				}
				visitor = core.NewVisitor(cfg, state)
			default:
				return fmt.Errorf("%s: step %d has the unknown input %q", v.Name, i, s.Input)
			}
			s.Visitor = is{visitor.AnonymousID(), visitor.UserID(), visitor.SessionID(), visitor.Changed()}
		}
		return nil
	})
}
