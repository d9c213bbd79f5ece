// The client core for languages that call C. Every function may be called from
// any thread, with a handle that is closed, unknown or 0, and at any time: a
// wrong call answers with an error text or does nothing; it never ends the
// process. None waits for the network or the disk, but those that take a timeout.
//
// A text is UTF-8 with a length, not ended by a zero; bytes may be NULL when the
// length is 0. Texts and bytes that are passed in are copied before the call
// returns. A char* that is returned belongs to the caller, who frees it with
// cz_free; NULL means none.
#ifndef CAUSALITY_CORE_H
#define CAUSALITY_CORE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t cz_handle; // 0 is none

typedef struct {
  const char *bytes;
  int64_t length;
} cz_text;

typedef const uint8_t *cz_data;

// Sends a request's body (application/proto) to the server and tells the outcome
// with cz_reply, once, before or after it returns. body is valid until it returns.
typedef void (*cz_send)(void *user, const uint8_t *body, int64_t length, cz_handle reply);

// Something that a log may want: level is debug, info, warning or error. The
// texts are valid until it returns.
typedef void (*cz_notice)(void *user, cz_text level, cz_text message);

// Neither send nor notice is running or will be called any more: user may be freed.
// Called once, on a thread of the library, some time after cz_close.
typedef void (*cz_done)(void *user);

typedef struct {
  cz_text directory;         // of the queue's file; empty: events wait in memory
  cz_text key;               // the app's write key
  int64_t flush_at;          // events that start a request; 0: 30
  int64_t flush_every_ms;    // longest wait of an event; 0: 30,000
  int64_t queue_bytes;       // above it the oldest are dropped; 0: 32 MiB
  int64_t send_timeout_ms;   // after which a send without a reply has failed; 0: 60,000
  cz_text library;           // for example causality-swift
  cz_text library_version;
  cz_send send;
  cz_notice notice;          // may be NULL
  cz_done done;              // may be NULL when user lives as long as the process
  void *user;                // handed to the functions; alive until done is called, or cz_open has failed
} cz_options;

// Opens a client. On failure it answers 0 and sets *error, when error is not NULL.
cz_handle cz_open(cz_options *options, char **error); // options are copied

// Stores and sends what is queued, waiting up to timeout_ms, and ends the client;
// what was not sent is sent by the next one. With 0 it returns at once, and the
// client ends by itself. The handle is of no use afterwards.
char *cz_close(cz_handle client, int64_t timeout_ms);

// Waits up to timeout_ms until the queue's file is open, or has turned out to be of
// no use, and answers whether that is so. Before that, whether the person opted out
// and who they are is not known of earlier starts.
int32_t cz_await_open(cz_handle client, int64_t timeout_ms);

// Waits up to timeout_ms until everything recorded before is acknowledged.
char *cz_flush(cz_handle client, int64_t timeout_ms);

// Objects carry properties and traits. A call that takes one releases it.
cz_handle cz_object(void);
void cz_put_text(cz_handle object, cz_text key, cz_text value);
void cz_put_int(cz_handle object, cz_text key, int64_t value);
void cz_put_double(cz_handle object, cz_text key, double value);
void cz_put_bool(cz_handle object, cz_text key, int32_t value);
void cz_put_null(cz_handle object, cz_text key);
// Between a begin and its end, puts go into the inner object or list; inside a
// list keys are ignored.
void cz_begin_object(cz_handle object, cz_text key);
void cz_begin_list(cz_handle object, cz_text key);
void cz_end(cz_handle object);
void cz_release(cz_handle object);

// Records an event. For what is told later, such as a crash: time_ms is when it
// happened, since 1970 (0: now), session the one it happened in (empty: the present
// one), and id makes it count once however often it is told (empty: a new one).
char *cz_track(cz_handle client, cz_text name, cz_handle properties, int64_t time_ms, cz_text session, cz_text id);
// unset holds the keys to forget, parted by newlines.
char *cz_identify(cz_handle client, cz_text user, cz_handle set, cz_handle set_once, cz_handle add, cz_text unset);
char *cz_group(cz_handle client, cz_text type, cz_text id, cz_handle set, cz_handle set_once, cz_handle add, cz_text unset);
char *cz_alias(cz_handle client, cz_text previous, cz_text user);

void cz_reset(cz_handle client);
void cz_opt_out(cz_handle client, int32_t out);
int32_t cz_opted_out(cz_handle client);
void cz_foreground(cz_handle client);
void cz_background(cz_handle client);
void cz_trim_memory(cz_handle client);
void cz_network(cz_handle client, cz_text kind); // wifi, cellular, ethernet, other, none

// Says where events happen from now on: app_version, app_build, app_namespace,
// device_id, device_manufacturer, device_model, device_type, os_name, os_version,
// locale, time_zone, carrier, user_agent, platform, and as numbers screen_width,
// screen_height, screen_density.
// An unknown name answers with an error text.
char *cz_context(cz_handle client, cz_text name, cz_text value);

// One of anonymous_id, user_id, session_id.
char *cz_identity(cz_handle client, cz_text name);

// queued, queued_bytes, sent, failures, paused, in_memory (1 when events end with
// the process), or dropped.<reason>; -1 for what is unknown.
int64_t cz_stat(cz_handle client, cz_text name);
// The reasons events were dropped for so far, parted by newlines.
char *cz_drop_reasons(cz_handle client);
char *cz_last_error(cz_handle client);

// The outcome of a send: an HTTP status, or 0 with an error text. A handle that has
// had its outcome is ignored.
void cz_reply(cz_handle reply, int32_t status, int64_t retry_after_ms, cz_data body, int64_t length, cz_text error);

void cz_free(char *text);

#ifdef __cplusplus
}
#endif

#endif
