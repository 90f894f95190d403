#include <stdio.h>
#include "sum.h"

int main(void) {
  long values[] = {1, 2, 3, 4};
  if (sum(values, 4) != 11) {
    puts("FAIL: sum of 1..4");
    return 1;
  }
  puts("ok: sum");
  return 0;
}
