package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// DefaultRateLimit is in events a second.
	DefaultRateLimit = 5000
	// DefaultOverlap is how long a rotated key stays valid.
	DefaultOverlap = 24 * time.Hour
	maxOverlap     = 90 * 24 * time.Hour

	maxKeysPerApp = 1000
	maxKeyName    = 100
)

// KeyInfo is what people see of a key.
type KeyInfo struct {
	ID, AppID, AppName string
	Kind, Name         string
	Display            string // a write key in full; of a secret key the first characters
	RateLimit          float64
	CreatedAt          time.Time
	LastUsedAt         time.Time // zero: never
	ExpiresAt          time.Time // zero: never
	RevokedAt          time.Time // zero: valid
}

// NewKey describes a key to create.
type NewKey struct {
	Kind      string // write or secret
	Name      string
	RateLimit *float64 // events a second; nil: DefaultRateLimit; 0: none
}

func (n NewKey) check() error {
	var wrong []fault.Field
	if n.Kind != "write" && n.Kind != "secret" {
		wrong = append(wrong, fault.Field{Name: "kind", Message: fmt.Sprintf("must be write or secret, not %q", n.Kind)})
	}
	if !utf8.ValidString(n.Name) || utf8.RuneCountInString(n.Name) > maxKeyName || strings.ContainsRune(n.Name, 0) {
		wrong = append(wrong, fault.Field{Name: "name", Message: fmt.Sprintf("must be text of at most %d characters", maxKeyName)})
	}
	if n.RateLimit != nil && !(*n.RateLimit >= 0 && *n.RateLimit <= 1e9) {
		wrong = append(wrong, fault.Field{Name: "rateLimit", Message: "must be a number of events a second from 0, for no limit, to 1,000,000,000"})
	}
	return fault.InvalidFields(wrong)
}

// Create makes a key for an app of the workspace in scope. The second result is
// the key's text, which is not kept for secret keys.
func (k *Keys) Create(ctx context.Context, app tenancy.App, key NewKey) (KeyInfo, string, error) {
	var info KeyInfo
	var text string
	err := k.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		info, text, err = k.CreateIn(ctx, tx, app, key)
		return err
	})
	return info, text, err
}

// CreateIn makes a key inside a transaction that is scoped to the app's workspace.
func (k *Keys) CreateIn(ctx context.Context, tx pgx.Tx, app tenancy.App, key NewKey) (KeyInfo, string, error) {
	if err := key.check(); err != nil {
		return KeyInfo{}, "", err
	}
	limit := float64(DefaultRateLimit)
	if key.RateLimit != nil {
		limit = math.Abs(*key.RateLimit) // no negative zero
	}
	var count int
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM keys WHERE app_id = $1 AND revoked_at IS NULL", app.ID).Scan(&count); err != nil {
		return KeyInfo{}, "", fmt.Errorf("count keys: %w", err)
	}
	if count >= maxKeysPerApp {
		return KeyInfo{}, "", fault.New(fault.Exhausted, "The app %q has %d keys, which is the most it can have. Revoke those that are not used", app.Name, count)
	}
	prefix := writePrefix
	if key.Kind == "secret" {
		prefix = secretPrefix
	}
	text := newKeyText(prefix)
	display := text
	if key.Kind == "secret" {
		display = text[:len(prefix)+5] + "…"
	}
	id, err := uuid.NewV7()
	if err != nil {
		return KeyInfo{}, "", fmt.Errorf("new id: %w", err)
	}
	hash := sha256.Sum256([]byte(text))
	info := KeyInfo{ID: id.String(), AppID: app.ID, AppName: app.Name, Kind: key.Kind, Name: strings.TrimSpace(key.Name), Display: display, RateLimit: limit}
	err = tx.QueryRow(ctx, `INSERT INTO keys (key_id, workspace_id, app_id, kind, name, key_hash, display, rate_limit)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING created_at`,
		id, app.WorkspaceID, app.ID, info.Kind, info.Name, hash[:], display, limit).Scan(&info.CreatedAt)
	if err != nil {
		return KeyInfo{}, "", fmt.Errorf("write key: %w", err)
	}
	return info, text, nil
}

const keyColumns = `k.key_id::text, k.app_id::text, a.name, k.kind, k.name, k.display, k.rate_limit, k.created_at, k.last_used_at, k.expires_at, k.revoked_at`

func scanKeyInfo(row pgx.CollectableRow) (info KeyInfo, err error) {
	var used, expires, revoked *time.Time
	err = row.Scan(&info.ID, &info.AppID, &info.AppName, &info.Kind, &info.Name, &info.Display, &info.RateLimit, &info.CreatedAt, &used, &expires, &revoked)
	for from, to := range map[**time.Time]*time.Time{&used: &info.LastUsedAt, &expires: &info.ExpiresAt, &revoked: &info.RevokedAt} {
		if *from != nil {
			*to = **from
		}
	}
	return info, err
}

// List returns the keys of the workspace in scope, or of one of its apps,
// newest first.
func (k *Keys) List(ctx context.Context, appID string) ([]KeyInfo, error) {
	var list []KeyInfo
	err := k.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT "+keyColumns+" FROM keys k JOIN apps a USING (app_id) WHERE $1 = '' OR k.app_id::text = $1 ORDER BY k.key_id DESC LIMIT 10000", appID)
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		list, err = pgx.CollectRows(rows, scanKeyInfo)
		return err
	})
	return list, err
}

// lock finds a key by its id and keeps others from changing it meanwhile.
func lock(ctx context.Context, tx pgx.Tx, id string) (KeyInfo, digest, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return KeyInfo{}, digest{}, fault.InvalidField("id", "must be the id of a key, which causality keys list shows")
	}
	var hash []byte
	if err := tx.QueryRow(ctx, "SELECT key_hash FROM keys WHERE key_id = $1 FOR UPDATE", parsed).Scan(&hash); errors.Is(err, pgx.ErrNoRows) {
		return KeyInfo{}, digest{}, fault.New(fault.NotFound, "No key %s in this workspace", parsed)
	} else if err != nil {
		return KeyInfo{}, digest{}, fmt.Errorf("find key: %w", err)
	}
	info, err := readKey(ctx, tx, parsed.String())
	return info, digest(hash), err
}

func readKey(ctx context.Context, tx pgx.Tx, id string) (KeyInfo, error) {
	rows, err := tx.Query(ctx, "SELECT "+keyColumns+" FROM keys k JOIN apps a USING (app_id) WHERE k.key_id = $1", id)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("read key: %w", err)
	}
	return pgx.CollectExactlyOneRow(rows, scanKeyInfo)
}

// Rotate makes a successor of a key and keeps the old one valid for overlap.
func (k *Keys) Rotate(ctx context.Context, id string, overlap time.Duration) (KeyInfo, string, error) {
	if overlap < 0 || overlap > maxOverlap {
		return KeyInfo{}, "", fault.InvalidField("overlap", "must be between 0s and %dd", int(maxOverlap.Hours()/24))
	}
	var info KeyInfo
	var text string
	var hash digest
	err := k.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) error {
		old, oldHash, err := lock(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case !old.RevokedAt.IsZero():
			return fault.New(fault.Conflict, "This key was revoked. Create a new one")
		case !old.ExpiresAt.IsZero():
			return fault.New(fault.Conflict, "This key was rotated already. Rotate its successor")
		}
		hash = oldHash
		workspaceID, err := tenancy.Workspace(ctx)
		if err != nil {
			return err
		}
		app := tenancy.App{ID: old.AppID, Name: old.AppName, WorkspaceID: workspaceID}
		info, text, err = k.CreateIn(ctx, tx, app, NewKey{Kind: old.Kind, Name: old.Name, RateLimit: &old.RateLimit})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE keys SET expires_at = now() + make_interval(secs => $2) WHERE key_id = $1", old.ID, overlap.Seconds())
		return err
	})
	if err != nil {
		return KeyInfo{}, "", err
	}
	k.changed(context.WithoutCancel(ctx), hash)
	return info, text, nil
}

// Revoke ends a key: here at once, and in other processes when they hear of it.
// Revoking it again changes nothing.
func (k *Keys) Revoke(ctx context.Context, id string) (KeyInfo, error) {
	var info KeyInfo
	var hash digest
	err := k.db.Tx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		if info, hash, err = lock(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL", info.ID); err != nil {
			return fmt.Errorf("revoke key: %w", err)
		}
		info, err = readKey(ctx, tx, info.ID)
		return err
	})
	if err != nil {
		return KeyInfo{}, err
	}
	k.changed(context.WithoutCancel(ctx), hash)
	return info, nil
}
