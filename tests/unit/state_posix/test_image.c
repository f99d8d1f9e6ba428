/* Images of states in LevelDB, as servers have them. */
#define IMAGE_OBJECTS 280
#define IMAGE_DAMAGES 9
#include "tests/unit/state/image_tests.h"

SUITE("state image in LevelDB", image_tests)
