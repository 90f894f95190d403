// title: listen at an abstract name that programs outside can connect to
// kind: network
// ways: exchanged, chosen, given
#include "attack.h"

static volatile int stop;
static struct sockaddr_un address;

static void* swap(void* nothing) {
  volatile char* first = address.sun_path;
  while (!stop) {
    *first = 0;
    for (volatile int i = 0; i < 300; i++);
    *first = '.';
    for (volatile int i = 0; i < 300; i++);
  }
  return nothing;
}

static int named(int socket, struct sockaddr_un* name, socklen_t* size) {
  *size = sizeof *name;
  return getsockname(socket, (struct sockaddr*)name, size) == 0 && *size > sizeof(sa_family_t) && name->sun_path[0] == 0;
}

static int exchanged(void) {
  char own[64];
  snprintf(own, sizeof own, "./taken-%d", getpid());
  strcpy(address.sun_path, own);
  pthread_t thread;
  pthread_create(&thread, NULL, swap, NULL);
  int found = -1;
  for (int i = 0; i < 20000 && found < 0; i++) {
    struct sockaddr_un name;
    socklen_t size;
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(made, (struct sockaddr*)&address, sizeof(sa_family_t) + strlen(own));
    if (named(made, &name, &size)) found = made;
    else close(made);
    unlink(own);
  }
  stop = 1;
  pthread_join(thread, NULL);
  return found;
}

// A connect gives a name to who shows credentials, also when the other's backlog is full.
static int given(void) {
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  strcpy(address.sun_path, "full");
  bind(server, (struct sockaddr*)&address, sizeof address);
  listen(server, 0);
  connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr*)&address, sizeof address);
  int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int on = 1;
  setsockopt(made, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  connect(made, (struct sockaddr*)&address, sizeof address);
  fcntl(made, F_SETFL, 0);
  unlink("full");
  return made;
}

static void attack(void) {
  address.sun_family = AF_UNIX;
  int server;
  if (strcmp(get("way"), "chosen") == 0) {
    server = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(server, (struct sockaddr*)&address, sizeof(sa_family_t));
  } else {
    server = strcmp(get("way"), "given") == 0 ? given() : exchanged();
  }
  struct sockaddr_un name;
  socklen_t size;
  if (server < 0 || !named(server, &name, &size) || listen(server, 4) != 0) return;
  printf("# abstract %.*s\n", (int)(size - sizeof(sa_family_t) - 1), name.sun_path + 1);
  fflush(stdout);
  struct timeval most = {1, 500000};
  setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  int client = accept(server, NULL, NULL);
  if (client >= 0 && write(client, "visited", 7) == 7) close(client);
}
