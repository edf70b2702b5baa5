/* A name server: "N.sim" is the Nth server of group 0. Sometimes it is late, silent, wrong. */
#pragma once
void dns_start(void);
/* Answers at once and rightly from now on. */
void dns_calm(void);
