// A static program of plain system calls and musl's resolver: client HOST PATH...
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
  for (int i = 2; i < argc; i++) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(argv[1], "80", &hints, &found) != 0) return 1;
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) return 2;
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", argv[i], argv[1]);
    char answer[4096];
    for (ssize_t size; (size = read(fd, answer, sizeof answer)) > 0;) fwrite(answer, 1, (size_t)size, stdout);
    close(fd);
    freeaddrinfo(found);
  }
  return 0;
}
