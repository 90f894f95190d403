// The entry of the unit tests; each facility has its own <name>_test.cc beside this.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
