/* What a server process tells of itself over HTTP, for Prometheus: GET /metrics at the configured address. */
#pragma once
#include "tools/server.h"

/* Begins to serve them; the roles have started. OK also without the key `metrics`. */
enum err metrics_start(struct server *s) MUST_USE;
/* Before the roles stop. */
void metrics_stop(struct server *s);
