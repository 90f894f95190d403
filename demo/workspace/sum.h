long sum(const long *values, int count);
