/* What the product keeps for hours of log time: a write's right to commit, a former holder's copies, idle
 * sessions. In some seeds it is a minute, so that all of it ends under faults, and a run sees what is
 * destroyed then. There a disk is suspect after a second, too. */
#pragma once
#include <stdint.h>

/* Before the world begins. 0: as in production. */
void ages_set(int64_t short_age);
