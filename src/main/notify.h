/* systemd's readiness protocol: one datagram to $NOTIFY_SOCKET. Without the variable nothing
 * happens. */
#pragma once
#include "base/bug.h"

/* 0, or -errno; a failure is nobody's business but a test's. */
int notify_send(const char *fmt, ...) PRINTF_LIKE(1, 2);
void notify_ready(void);     /* READY=1, MAINPID */
void notify_reloading(void); /* RELOADING=1 and when */
void notify_stopping(void);
void notify_mainpid(int pid);
