/* Images of states in the simulator's store. */
#include "tests/unit/state/image_tests.h"

SUITE("state image", image_tests)
