/* Moved: for whoever still includes it from here. */
#pragma once
#include "common/proto/message.h"
