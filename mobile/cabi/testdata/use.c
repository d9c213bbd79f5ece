// A program over the C library, run by cabi_test.go: it opens, records, flushes
// against a transport of its own, closes, and then calls everything with handles
// that are closed, unknown or 0. Meanwhile it uses another Go library, with a
// runtime of its own. It prints what is wrong and ends with the count.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "causality_core.h"

extern char *OtherText(int n);

static int wrong;

#define CHECK(what) ((what) ? (void)0 : (void)(wrong++, printf("line %d: %s does not hold\n", __LINE__, #what)))

static cz_text T(const char *s) { return (cz_text){s, s ? (int64_t)strlen(s) : 0}; }

// fails reports whether a call answered with an error, and frees it.
static int fails(char *error) {
	cz_free(error);
	return error != NULL;
}

// says reports whether a text that the library returned holds a part.
static int says(char *text, const char *part) {
	int found = text && strstr(text, part);
	cz_free(text);
	return found;
}

struct server {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int down;
	int done; // the library has told that it will not call any more
	int64_t events;
};

struct answer {
	struct server *server;
	cz_handle reply;
	int64_t events;
};

static void *answer(void *argument) {
	struct answer *a = argument;
	uint8_t body[12] = {8}; // IngestResponse.accepted
	int length = 1;
	for (uint64_t n = (uint64_t)a->events; body[length++] = (uint8_t)(n & 127), n >>= 7;) body[length - 1] |= 128;
	cz_reply(a->reply, 200, 0, body, length, T(""));
	cz_reply(a->reply, 500, 0, NULL, 0, T("twice")); // counts no more
	free(a);
	return NULL;
}

// post counts the events of a request (its first field, repeated at the front), and
// answers from another thread, as an asynchronous platform does.
static void post(void *user, const uint8_t *body, int64_t length, cz_handle reply) {
	struct server *server = user;
	pthread_mutex_lock(&server->mutex);
	int down = server->down;
	CHECK(!server->done);
	pthread_mutex_unlock(&server->mutex);
	if (down) {
		cz_reply(reply, 0, 0, NULL, 0, T("the network is down"));
		return;
	}
	struct answer *a = malloc(sizeof *a);
	*a = (struct answer){server, reply, 0};
	for (int64_t at = 0; at < length && body[at] == 0x0a; a->events++) {
		uint64_t size = 0;
		int shift = 0;
		do {
			at++;
			size |= (uint64_t)(body[at] & 127) << shift;
			shift += 7;
		} while (body[at] & 128);
		at += 1 + (int64_t)size;
	}
	pthread_mutex_lock(&server->mutex);
	server->events += a->events;
	pthread_mutex_unlock(&server->mutex);
	pthread_t thread;
	pthread_create(&thread, NULL, answer, a);
	pthread_detach(thread);
}

static void silent(void *user, cz_text level, cz_text message) {
	struct server *server = user;
	CHECK(level.length > 0 && message.length > 0);
	pthread_mutex_lock(&server->mutex);
	CHECK(!server->done);
	pthread_mutex_unlock(&server->mutex);
}

static void done(void *user) {
	struct server *server = user;
	pthread_mutex_lock(&server->mutex);
	server->done++;
	pthread_cond_signal(&server->changed);
	pthread_mutex_unlock(&server->mutex);
}

// await waits until the library has said that it is done with the server.
static void await(struct server *server) {
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&server->mutex);
	while (!server->done && pthread_cond_timedwait(&server->changed, &server->mutex, &until) == 0) {
	}
	CHECK(server->done == 1);
	pthread_mutex_unlock(&server->mutex);
}

static void misuse(cz_handle none) {
	CHECK(fails(cz_track(none, T("n"), 0, 0, T(""), T(""))));
	CHECK(fails(cz_track(none, (cz_text){NULL, 100}, none, -1, (cz_text){NULL, 0}, (cz_text){"", -5})));
	CHECK(fails(cz_identify(none, T("u"), none, none, none, T(""))));
	CHECK(fails(cz_group(none, T("k"), T("g"), none, none, none, T(""))));
	CHECK(fails(cz_alias(none, T("a"), T("b"))));
	CHECK(fails(cz_flush(none, 10)));
	CHECK(cz_await_open(none, 10) == 0);
	fails(cz_close(none, 10));
	fails(cz_context(none, T("os_name"), T("x")));
	CHECK(cz_stat(none, T("unknown")) == -1);
	cz_free(cz_identity(none, T("user_id")));
	cz_free(cz_drop_reasons(none));
	cz_free(cz_last_error(none));
	cz_reset(none);
	cz_opt_out(none, 1);
	cz_opted_out(none);
	cz_foreground(none);
	cz_background(none);
	cz_trim_memory(none);
	cz_network(none, T("wifi"));
	cz_put_text(none, T("k"), T("v"));
	cz_put_int(none, T("k"), 1);
	cz_put_double(none, T("k"), 1);
	cz_put_bool(none, T("k"), 1);
	cz_put_null(none, T("k"));
	cz_begin_object(none, T("k"));
	cz_begin_list(none, T("k"));
	cz_end(none);
	cz_release(none);
	cz_reply(none, 200, 0, NULL, 0, T(""));
	cz_free(NULL);
}

static void *other(void *unused) {
	(void)unused;
	int different = 0;
	for (int n = 0; n < 20000; n++) {
		char want[32], *text = OtherText(n);
		snprintf(want, sizeof want, "other %d", n);
		different += strcmp(text, want) != 0;
		free(text);
	}
	CHECK(different == 0);
	return NULL;
}

int main(int count, char **arguments) {
	if (count != 2) return 100;
	pthread_t beside;
	pthread_create(&beside, NULL, other, NULL);
	struct server server = {.down = 1, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	char *error = NULL;
	CHECK(cz_open(NULL, &error) == 0 && says(error, "causality"));
	cz_options options = {.send = post, .notice = silent, .done = done, .user = &server};
	error = NULL;
	CHECK(cz_open(&options, &error) == 0 && says(error, "Key"));
	CHECK(cz_open(&options, NULL) == 0);
	options.directory = T(arguments[1]);
	options.key = T("wk_test");
	error = NULL;
	cz_handle client = cz_open(&options, &error);
	CHECK(client != 0 && error == NULL);
	CHECK(cz_await_open(client, 20000) == 1);

	cz_handle properties = cz_object();
	cz_put_text(properties, (cz_text){"a\0b", 3}, (cz_text){"\xff\0", 2});
	cz_put_int(properties, T("n"), INT64_MAX);
	cz_put_double(properties, T("d"), 12.5);
	cz_begin_object(properties, T("o"));
	cz_begin_list(properties, T("l"));
	cz_put_bool(properties, T(""), 1);
	cz_end(properties);
	cz_put_null(properties, T("none"));
	cz_end(properties);
	cz_end(properties); // one too many
	CHECK(!fails(cz_track(client, T("order_paid"), properties, 0, T(""), T(""))));
	CHECK(!fails(cz_track(client, T("again"), properties, 0, T(""), T("")))); // released: without any
	CHECK(fails(cz_track(client, T(""), 0, 0, T(""), T(""))));
	CHECK(!fails(cz_identify(client, T("u1"), 0, 0, 0, T(""))));
	CHECK(says(cz_flush(client, 20000), "the network is down"));
	CHECK(says(cz_identity(client, T("user_id")), "u1"));
	CHECK(cz_stat(client, T("queued")) == 3 && cz_stat(client, T("dropped.invalid")) == 1);
	CHECK(says(cz_last_error(client), "down"));
	pthread_mutex_lock(&server.mutex);
	server.down = 0;
	pthread_mutex_unlock(&server.mutex);
	CHECK(!fails(cz_flush(client, 20000)));
	CHECK(cz_stat(client, T("sent")) == 3 && cz_stat(client, T("in_memory")) == 0);
	pthread_mutex_lock(&server.mutex);
	CHECK(server.events == 3);
	pthread_mutex_unlock(&server.mutex);

	CHECK(!fails(cz_close(client, 20000)));
	await(&server);
	misuse(client);

	// One that nobody waits for calls on until it has ended, and says when.
	struct server away = {.down = 1, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	options.user = &away;
	client = cz_open(&options, NULL);
	CHECK(!fails(cz_track(client, T("kept"), 0, 0, T(""), T(""))));
	CHECK(!fails(cz_close(client, 0)));
	await(&away);
	misuse(0);
	misuse(UINT64_MAX);
	pthread_join(beside, NULL);
	return wrong;
}
