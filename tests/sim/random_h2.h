#pragma once

/* Clients of HTTP/2 for the random world: draws and starts some. */
void random_muxes(void);
/* Those that break its rules; the wide world only. */
void random_abuse(void);
