// One side of the test that sandboxes do not see each other.
//
//   neighbour serve TAG   listens on an abstract Unix name and on a TCP port, the same in every
//   sandbox, prints "ready"
//                         and gives its tag to whoever connects
//   neighbour ask         prints the tags that the two give, or the errno: "unix TAG tcp TAG"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char name[] = "holdfast-neighbour";
enum { port = 4711 };

static int open_unix(int serve) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path + 1, name, sizeof name);
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + sizeof name;
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  if (!serve) return connect(fd, (struct sockaddr*)&address, size) == 0 ? fd : -1;
  return bind(fd, (struct sockaddr*)&address, size) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

static int open_tcp(int serve) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  if (!serve) return connect(fd, (struct sockaddr*)&address, sizeof address) == 0 ? fd : -1;
  return bind(fd, (struct sockaddr*)&address, sizeof address) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

static void print_tag(const char* what, int fd) {
  char tag[64] = "";
  if (fd < 0) {
    snprintf(tag, sizeof tag, "errno-%d", errno);
  } else {
    size_t have = 0;
    for (ssize_t got;
         have + 1 < sizeof tag && (got = read(fd, tag + have, sizeof tag - 1 - have)) > 0;)
      have += (size_t)got;
    close(fd);
  }
  printf("%s %s\n", what, tag);
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "ask") == 0) {
    print_tag("unix", open_unix(0));
    print_tag("tcp", open_tcp(0));
    return 0;
  }
  if (argc != 3 || strcmp(argv[1], "serve") != 0) return 2;
  struct pollfd sources[2] = {
      {open_unix(1), POLLIN, 0},
      {open_tcp(1),  POLLIN, 0}
  };
  if (sources[0].fd < 0 || sources[1].fd < 0) {
    perror("listen");
    return 1;
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    if (poll(sources, 2, -1) < 0) continue;
    for (int i = 0; i < 2; i++) {
      if (!(sources[i].revents & POLLIN)) continue;
      int peer = accept(sources[i].fd, NULL, NULL);
      if (peer < 0) continue;
      if (write(peer, argv[2], strlen(argv[2])) < 0) perror("write");
      close(peer);
    }
  }
}
