// A client of HTTPS that costs little, the same for every way to the server: threads with blocking
// sockets, one connection each.
//
//   load keep|new|bulk THREADS MS direct|proxy CONNECT-TO PORT SERVER SERVER-PORT CA PATH
//
// keep: requests on connections that stay, for MS milliseconds. new: a connection for each request,
// with a full handshake. bulk: one request on each connection. `proxy` asks for the server by
// CONNECT. When its connections stand it prints "ready", begins when a byte comes on standard
// input, and prints how many requests and bytes of bodies it had, in how many microseconds, and the
// median of a request's.

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Options {
  std::string mode, via, connect_to, port, server, server_port, path;
  double us = 0;
};

Options options;
SSL_CTX* context;
addrinfo* place;
std::string request;

[[noreturn]] void Die(const char* what) {
  perror(what);
  ERR_print_errors_fp(stderr);
  _exit(1);
}

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

class Connection {
 public:
  Connection() {
    fd_ = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0 || connect(fd_, place->ai_addr, place->ai_addrlen) != 0) Die("connect");
    int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.via == "proxy") Ask();
    ssl_ = SSL_new(context);
    SSL_set_tlsext_host_name(ssl_, options.server.c_str());
    SSL_set1_host(ssl_, options.server.c_str());
    SSL_set_fd(ssl_, fd_);
    if (SSL_connect(ssl_) != 1) Die("TLS handshake");
  }

  ~Connection() {
    SSL_shutdown(ssl_);
    SSL_free(ssl_);
    close(fd_);
  }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /** One request and its answer: the size of the body. */
  size_t Get() {
    if (SSL_write(ssl_, request.data(), static_cast<int>(request.size())) <= 0) Die("SSL_write");
    size_t have = 0;
    const char* end = nullptr;
    while (end == nullptr) {
      have += Read(have);
      if (have == sizeof buffer_ - 1) Die("a head that does not end");
      buffer_[have] = 0;
      end = strstr(buffer_, "\r\n\r\n");
    }
    const char* length = strcasestr(buffer_, "content-length: ");
    if (strncmp(buffer_, "HTTP/1.1 200", 12) != 0 || length == nullptr) {
      fprintf(stderr, "%s\n", buffer_);
      Die("no such answer was expected");
    }
    size_t size = strtoull(length + 16, nullptr, 10);
    size_t got = have - static_cast<size_t>(end + 4 - buffer_);
    while (got < size) got += Read(0);
    return size;
  }

 private:
  void Ask() {
    std::string target = options.server + ":" + options.server_port;
    std::string text = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
    if (write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) Die("write");
    size_t have = 0;
    while (have < 4 || memcmp(buffer_ + have - 4, "\r\n\r\n", 4) != 0) {
      ssize_t size = read(fd_, buffer_ + have, sizeof buffer_ - 1 - have);
      if (size <= 0) Die("no answer to CONNECT");
      have += static_cast<size_t>(size);
    }
    if (memcmp(buffer_ + 8, " 200", 4) != 0) Die("CONNECT was refused");
  }

  size_t Read(size_t at) {
    int size = SSL_read(ssl_, buffer_ + at, static_cast<int>(sizeof buffer_ - 1 - at));
    if (size <= 0) Die("SSL_read");
    return static_cast<size_t>(size);
  }

  int fd_;
  SSL* ssl_;
  char buffer_[64 * 1024];
};

struct Counts {
  std::vector<double> times;
  size_t bytes = 0;
};

pthread_barrier_t connected, begin;

void Work(Counts* counts) {
  auto* kept = new Connection;
  if (options.mode != "bulk") kept->Get();
  pthread_barrier_wait(&connected);
  pthread_barrier_wait(&begin);
  double end = Now() + options.us;
  for (double before = Now(); before < end;) {
    if (options.mode == "new") {
      Connection once;
      counts->bytes += once.Get();
    } else {
      counts->bytes += kept->Get();
    }
    double now = Now();
    counts->times.push_back(now - before);
    before = now;
    if (options.mode == "bulk") break;
  }
  delete kept;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 11) return 2;
  auto threads = static_cast<unsigned>(atoi(argv[2]));
  options = {argv[1], argv[4], argv[5], argv[6], argv[7], argv[8], argv[10], atof(argv[3]) * 1e3};
  // As requests(Python) says it.
  request = "GET " + options.path + " HTTP/1.1\r\nHost: " + options.server +
            (options.server_port == "443" ? "" : ":" + options.server_port) +
            "\r\nUser-Agent: python-requests/2.31.0\r\nAccept-Encoding: gzip, deflate\r\n"
            "Accept: */*\r\nConnection: keep-alive\r\n\r\n";
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(options.connect_to.c_str(), options.port.c_str(), &hints, &place) != 0)
    Die(options.connect_to.c_str());
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  if (SSL_CTX_load_verify_locations(context, argv[9], nullptr) != 1) Die(argv[9]);

  pthread_barrier_init(&connected, nullptr, threads + 1);
  pthread_barrier_init(&begin, nullptr, threads + 1);
  std::vector<Counts> counts(threads);
  std::vector<std::thread> workers;
  for (Counts& own : counts) workers.emplace_back(Work, &own);
  pthread_barrier_wait(&connected);
  puts("ready");
  fflush(stdout);
  if (getchar() == EOF) return 1;
  double began = Now();
  pthread_barrier_wait(&begin);
  for (std::thread& worker : workers) worker.join();
  double took = Now() - began;

  std::vector<double> times;
  size_t bytes = 0;
  for (const Counts& own : counts) {
    times.insert(times.end(), own.times.begin(), own.times.end());
    bytes += own.bytes;
  }
  std::sort(times.begin(), times.end());
  printf("%zu %zu %.1f %.1f\n", times.size(), bytes, took, times[times.size() / 2]);
  return 0;
}
