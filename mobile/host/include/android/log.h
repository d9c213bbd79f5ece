// What the generated Java binding uses of Android's log, for the host build.
#ifndef CAUSALITY_HOST_ANDROID_LOG_H
#define CAUSALITY_HOST_ANDROID_LOG_H

#include <stdio.h>

#define ANDROID_LOG_INFO "I"
#define ANDROID_LOG_FATAL "F"
#define __android_log_print(level, tag, ...) \
	(fprintf(stderr, "%s/%s: ", (level), (tag)), fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"))

#endif
