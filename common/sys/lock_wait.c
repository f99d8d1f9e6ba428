/* A process that was killed holds its locks until the last of its threads has left the kernel. */
#include "common/sys/sys.h"

enum { EVERY_MS = 50, LONGEST_MS = 5000 };

enum err sys_file_lock_wait(struct sys_file *f)
{
    int64_t until = sys_now() + LONGEST_MS * SYS_MS;
    for (;;) {
        enum err e = sys_file_lock(f);
        if (e != ERR_BUSY || sys_now() >= until)
            return e;
        sys_sleep_until(sys_now() + EVERY_MS * SYS_MS);
    }
}
