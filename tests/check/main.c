/* check-history FILE: whether the history in it is linearizable. Exit status 0: it is; 1: it is not, or
 * that was too much work; 2: the file is wrong. */
#include <stdio.h>
#include <string.h>
#include "tests/check/linearizable.h"

int main(int argc, char **argv)
{
    char problem[200];
    struct linearizable_report report;
    if (argc != 2) {
        fprintf(stderr, "usage: check-history FILE\n");
        return 2;
    }
    struct history *h = history_new();
    if (!history_read(h, argv[1], problem)) {
        fprintf(stderr, "check-history: %s\n", problem);
        history_free(h);
        return 2;
    }
    enum linearizable verdict = linearizable_check(h, LINEARIZABLE_STEPS, &report);
    linearizable_print(&report, h, stdout);
    linearizable_report_release(&report);
    history_free(h);
    return verdict == LINEARIZABLE ? 0 : 1;
}
