// The only file that knows Node-API: converts, calls, converts back. No policy, no defaults.

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <napi.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>

#include "exec.h"
#include "form_search.h"
#include "host_lookup.h"
#include "launch.h"
#include "locked_memory.h"
#include "loopback.h"
#include "notify.h"
#include "outbox.h"
#include "probe.h"
#include "relay.h"
#include "repositories.h"
#include "terminal.h"
#include "threads.h"
#include "tls_tickets.h"
#include "unix_socket.h"

namespace {

using holdfast::Status;

// What lives in one environment: a worker thread has one of its own, and threads of ours outlive
// it.
struct Environment {
  std::mutex mutex;
  bool open = true;
  // By pidfd: they end with it, since whoever would end them is gone. One that is not pid 1 of a
  // namespace has its line to hang up here: it takes everybody along, which its death would not.
  std::map<int, holdfast::UniqueFd> inits;

  // Runs before Node takes down what `call` uses, or not at all.
  template <typename Call>
  bool WhileOpen(Call call) {
    std::lock_guard<std::mutex> lock(mutex);
    if (open) call();
    return open;
  }

  // 0 or an errno. A second time, one that does not hear is killed.
  static int End(int pidfd, holdfast::UniqueFd* line) {
    long done = line != nullptr && line->Valid()
                    ? shutdown(line->Get(), SHUT_RDWR)
                    : syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
    int error = done == 0 ? 0 : errno;
    if (line != nullptr) line->Reset(-1);
    return error;
  }

  void Close() {
    holdfast::ResetRelaysOf(this);
    std::lock_guard<std::mutex> lock(mutex);
    open = false;
    for (auto& init : inits) {
      End(init.first, &init.second);
      holdfast::OnLauncherThread([pidfd = init.first] {
        holdfast::WaitForInit(pidfd);
        close(pidfd);
      });
    }
  }
};

using EnvironmentRef = std::shared_ptr<Environment>;

EnvironmentRef In(Napi::Env env) { return *env.GetInstanceData<EnvironmentRef>(); }

Napi::Object ToError(Napi::Env env, const Status& status) {
  std::string text = status.step + ": " + status.syscall;
  if (!status.path.empty()) text += " " + status.path;
  text += ": " + std::string(strerror(status.error));
  Napi::Error error = Napi::Error::New(env, text);
  Napi::Object value = error.Value();
  value.Set("step", status.step);
  value.Set("syscall", status.syscall);
  value.Set("path", status.path);
  value.Set("errno", status.error);
  value.Set("wall", status.wall);
  return value;
}

void ThrowIfFailed(Napi::Env env, const Status& status) {
  if (!status.Ok()) throw Napi::Error(env, ToError(env, status));
}

std::vector<uint8_t> Bytes(const Napi::Value& value) {
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.Data() + array.ByteLength()};
}

// Runs `work` on the launcher thread, or another, and settles a promise on JavaScript's.
template <typename Result>
Napi::Value Run(void (*on)(const std::function<void()>&), Napi::Env env,
                std::function<Status(Result*)> work,
                std::function<Napi::Value(Napi::Env, Result*)> convert) {
  struct Job {
    Napi::Promise::Deferred deferred;
    Result result;
    Status status;
    Napi::ThreadSafeFunction settle;
    std::function<Napi::Value(Napi::Env, Result*)> convert;
  };
  auto job = std::make_shared<Job>(
      Job{Napi::Promise::Deferred::New(env), Result{}, Status::Fine(), {}, std::move(convert)});
  // A function of its own for each job: the reference keeps the event loop alive until it is
  // settled.
  job->settle = Napi::ThreadSafeFunction::New(env, Napi::Function(), "holdfast", 0, 1);
  Napi::Value promise = job->deferred.Promise();
  auto settle = [](Napi::Env environment, Napi::Function, std::shared_ptr<Job>* data) {
    std::unique_ptr<std::shared_ptr<Job>> owned(data);
    Job& done = **owned;
    if (environment == nullptr) return;  // the runtime is shutting down
    if (done.status.Ok())
      done.deferred.Resolve(done.convert(environment, &done.result));
    else
      done.deferred.Reject(ToError(environment, done.status));
  };
  try {
    on([job, settle, home = In(env), work = std::move(work)] {
      job->status = work(&job->result);
      home->WhileOpen([&] {
        auto* held = new std::shared_ptr<Job>(job);
        if (job->settle.BlockingCall(held, settle) != napi_ok) delete held;
        job->settle.Release();
      });
    });
  } catch (const std::system_error& error) {
    job->deferred.Reject(
        ToError(env, Status::Failed("thread", "pthread_create", error.code().value())));
    job->settle.Release();
  }
  return promise;
}

Napi::Value Begin(const Napi::CallbackInfo& info) {
  auto clone_flags = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  return Napi::Number::New(info.Env(),
                           holdfast::BeginLater(clone_flags, info[1].As<Napi::String>()));
}

void Abandon(const Napi::CallbackInfo& info) {
  holdfast::AbandonBegun(info[0].As<Napi::Number>().Uint32Value());
}

Napi::Value LaunchedObject(Napi::Env env, uint64_t clone_flags, holdfast::Launched* launched) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", launched->pid);
  holdfast::UniqueFd line;
  if ((clone_flags & CLONE_NEWPID) == 0)
    line.Reset(fcntl(launched->control.Get(), F_DUPFD_CLOEXEC, 3));
  In(env)->WhileOpen([&] { In(env)->inits[launched->pidfd.Get()] = std::move(line); });
  result.Set("pidfd", launched->pidfd.Release());
  result.Set("control", launched->control.Release());
  result.Set("events", launched->events.Release());
  return result;
}

Napi::Value Launch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto options = info[0].As<Napi::Object>();
  auto request = std::make_shared<holdfast::LaunchRequest>();
  request->clone_flags =
      static_cast<uint64_t>(options.Get("cloneFlags").As<Napi::Number>().Int64Value());
  request->uid_map = options.Get("uidMap").As<Napi::String>();
  request->gid_map = options.Get("gidMap").As<Napi::String>();
  request->deny_setgroups = options.Get("denySetgroups").As<Napi::Boolean>();
  request->program = Bytes(options.Get("program"));
  request->init_file = options.Get("initFile").As<Napi::String>();
  auto trees = options.Get("idMapped").As<Napi::Array>();
  for (uint32_t i = 0; i < trees.Length(); i++) {
    auto tree = trees.Get(i).As<Napi::Object>();
    request->id_mapped.push_back(
        {tree.Get("source").As<Napi::String>(), tree.Get("recursive").As<Napi::Boolean>(),
         tree.Get("uidMap").As<Napi::String>(), tree.Get("gidMap").As<Napi::String>()});
  }
  auto procs = options.Get("cgroupProcs").As<Napi::Array>();
  for (uint32_t i = 0; i < procs.Length(); i++)
    request->cgroup_procs.push_back(procs.Get(i).As<Napi::String>());
  auto counters = options.Get("cgroupEvents").As<Napi::Object>();
  const char* const counter_names[holdfast::kCgroupEventFiles] = {"memoryKills", "memoryReached",
                                                                  "memoryUsed", "tasksRefused"};
  for (int i = 0; i < holdfast::kCgroupEventFiles; i++)
    request->cgroup_events[i] = counters.Get(counter_names[i]).As<Napi::String>();
  request->memory_limit =
      static_cast<uint64_t>(counters.Get("memoryLimit").As<Napi::Number>().Int64Value());
  request->handed.Reset(options.Get("handed").As<Napi::Number>().Int32Value());
  uint32_t begun = options.Get("begun").As<Napi::Number>().Uint32Value();
  // The init is there already, as a rule; then nothing has to be waited for and no thread woken.
  holdfast::Launched launched;
  Status status = Status::Fine();
  if (holdfast::CanSetUpAnywhere(*request) &&
      holdfast::TakeBegun(begun, request->clone_flags, &launched, &status) &&
      (launched.pid >= 0 || !status.Ok())) {
    if (status.Ok()) status = holdfast::SetUp(*request, &launched);
    auto deferred = Napi::Promise::Deferred::New(env);
    if (status.Ok())
      deferred.Resolve(LaunchedObject(env, request->clone_flags, &launched));
    else
      deferred.Reject(ToError(env, status));
    return deferred.Promise();
  }
  return Run<holdfast::Launched>(
      holdfast::OnLauncherThread, env,
      [request, begun](holdfast::Launched* made) {
        Status taken = Status::Fine();
        holdfast::TakeBegun(begun, request->clone_flags, made, &taken);
        return taken.Ok() ? holdfast::SetUp(*request, made) : taken;
      },
      [request](Napi::Env made_in, holdfast::Launched* made) -> Napi::Value {
        return LaunchedObject(made_in, request->clone_flags, made);
      });
}

std::shared_ptr<const holdfast::Territory> ToTerritory(const Napi::Value& value) {
  if (!value.IsObject()) return nullptr;
  auto object = value.As<Napi::Object>();
  auto territory = std::make_shared<holdfast::Territory>();
  auto paths = [&](const char* name, std::vector<std::string>* into) {
    auto given = object.Get(name).As<Napi::Array>();
    for (uint32_t i = 0; i < given.Length(); i++)
      into->push_back(given.Get(i).As<Napi::String>().Utf8Value());
  };
  paths("writable", &territory->writable);
  paths("readable", &territory->readable);
  territory->loopback = object.Get("loopback").As<Napi::Number>().Uint32Value();
  territory->uid = object.Get("uid").As<Napi::Number>().Uint32Value();
  territory->gid = object.Get("gid").As<Napi::Number>().Uint32Value();
  return territory;
}

std::shared_ptr<const holdfast::OwnFiles> ToOwnFiles(const Napi::Object& object, bool has_mounts) {
  auto own = std::make_shared<holdfast::OwnFiles>();
  for (const char* name : {"writable", "readOnly"}) {
    auto folders = object.Get(name).As<Napi::Array>();
    for (uint32_t i = 0; i < folders.Length(); i++)
      own->folders.emplace_back(folders.Get(i).As<Napi::String>().Utf8Value(), name[0] == 'w');
  }
  own->uid = object.Get("uid").As<Napi::Number>().Uint32Value();
  own->gid = object.Get("gid").As<Napi::Number>().Uint32Value();
  clock_gettime(CLOCK_REALTIME_COARSE, &own->since);
  own->has_mounts = has_mounts;
  return own;
}

// After the init's record: the broker's handle, 0 where there is no listener. Throws what failed.
Napi::Value Ready(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<holdfast::NotifyRule> rules;
  auto notify = info[2].As<Napi::Int32Array>();
  constexpr size_t kFields = 5;
  for (size_t i = 0; i + kFields <= notify.ElementLength(); i += kFields)
    rules.push_back({notify[i], static_cast<holdfast::Answer>(notify[i + 1]), notify[i + 2],
                     notify[i + 3], notify[i + 4]});
  holdfast::UniqueFd given[holdfast::kReadyFds];
  auto& [listener, sockets, carried, datagrams, streams, handed] = given;
  int control = info[0].As<Napi::Number>().Int32Value();
  ThrowIfFailed(env, holdfast::TakeReady(control, given));
  Napi::Object result = Napi::Object::New(env);
  uint32_t broker = 0;
  std::shared_ptr<const holdfast::Territory> territory = ToTerritory(info[3]);
  if (territory != nullptr && info[3].As<Napi::Object>().Get("hasEgress").ToBoolean()) {
    carried = holdfast::ListenOnLoopback();
    if (!carried.Valid()) ThrowIfFailed(env, Status::Failed("clone", "listen", errno, "127.0.0.1"));
  }
  bool listening = listener.Valid();
  if (listening)
    broker = holdfast::WatchListener(std::move(listener), std::move(sockets), std::move(carried),
                                     info[1].As<Napi::Number>().Int32Value(), rules, territory,
                                     ToOwnFiles(info[4].As<Napi::Object>(), territory == nullptr));
  if (listening && broker == 0)
    ThrowIfFailed(env, Status::Failed("clone", "pthread_create", EAGAIN));
  result.Set("broker", broker);
  result.Set("resolverDatagrams", datagrams.Release());
  result.Set("resolverStreams", streams.Release());
  result.Set("handed", handed.Release());
  return result;
}

Napi::Value WaitExit(const Napi::CallbackInfo& info) {
  int pidfd = info[0].As<Napi::Number>().Int32Value();
  // Its own: the number may be another's when the environment has ended meanwhile.
  auto own = std::make_shared<holdfast::UniqueFd>(fcntl(pidfd, F_DUPFD_CLOEXEC, 3));
  return Run<int>(
      holdfast::OnOwnThread, info.Env(),
      [pidfd, own](int* result) {
        *result = holdfast::WaitForInit(own->Valid() ? own->Get() : pidfd);
        own->Reset(-1);
        return Status::Fine();
      },
      [pidfd](Napi::Env env, int* result) -> Napi::Value {
        In(env)->WhileOpen([&] { In(env)->inits.erase(pidfd); });
        return Napi::Number::New(env, *result);
      });
}

Napi::Value Kill(const Napi::CallbackInfo& info) {
  int pidfd = info[0].As<Napi::Number>().Int32Value();
  int error = 0;
  In(info.Env())->WhileOpen([&] {
    auto& inits = In(info.Env())->inits;
    auto found = inits.find(pidfd);
    error = Environment::End(pidfd, found == inits.end() ? nullptr : &found->second);
  });
  return Napi::Number::New(info.Env(), error);
}

Napi::Value Exec(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int control = info[0].As<Napi::Number>().Int32Value();
  holdfast::CallRequest request;
  request.message = Bytes(info[1]);
  for (size_t i = 0; i < 3; i++)
    request.stdio[i] = static_cast<holdfast::Stdio>(info[2 + i].As<Napi::Number>().Uint32Value());
  holdfast::CallPipes pipes;
  ThrowIfFailed(env, holdfast::SendExec(control, request, &pipes));
  Napi::Array ends = Napi::Array::New(env, 3);
  for (uint32_t i = 0; i < 3; i++) ends.Set(i, pipes.ends[i].Release());
  return ends;
}

void Request(const Napi::CallbackInfo& info) {
  auto message = info[1].As<Napi::Uint8Array>();
  const void* content = nullptr;
  size_t content_size = 0;
  if (info[2].IsTypedArray()) {
    auto array = info[2].As<Napi::Uint8Array>();
    content = array.ByteLength() > 0 ? static_cast<const void*>(array.Data()) : "";
    content_size = array.ByteLength();
  }
  ThrowIfFailed(info.Env(),
                holdfast::SendRequest(info[0].As<Napi::Number>().Int32Value(), message.Data(),
                                      message.ByteLength(), content, content_size));
}

Napi::Value Receive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  holdfast::Received received;
  if (!holdfast::ReceiveReply(info[0].As<Napi::Number>().Int32Value(), &received))
    return env.Null();
  Napi::Object result = Napi::Object::New(env);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, received.data.data(), received.data.size()));
  result.Set("fd", received.fd.Release());
  return result;
}

Napi::Value TakeDenials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto records = holdfast::TakeDenials(info[0].As<Napi::Number>().Uint32Value());
  Napi::Array result = Napi::Array::New(env, records.size());
  for (uint32_t i = 0; i < records.size(); i++) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("number", records[i].number);
    item.Set("subject", records[i].subject);
    item.Set("count", static_cast<double>(records[i].count));
    result.Set(i, item);
  }
  return result;
}

// A function that calls an argument from any thread. It does not keep the event loop alive.
std::function<void()> Notifier(const Napi::CallbackInfo& info, size_t at, const char* name) {
  EnvironmentRef home = In(info.Env());
  auto* listener = new Napi::ThreadSafeFunction(
      Napi::ThreadSafeFunction::New(info.Env(), info[at].As<Napi::Function>(), name, 0, 1));
  listener->Unref(info.Env());
  // Released with the last copy of the function that the broker holds.
  std::shared_ptr<Napi::ThreadSafeFunction> shared(listener,
                                                   [home](Napi::ThreadSafeFunction* function) {
                                                     home->WhileOpen([&] { function->Release(); });
                                                     delete function;
                                                   });
  return [home, shared] { home->WhileOpen([&] { shared->NonBlockingCall(); }); };
}

void OnLimitReached(const Napi::CallbackInfo& info) {
  holdfast::OnLimitReached(info[0].As<Napi::Number>().Uint32Value(),
                           Notifier(info, 1, "holdfast-limits"));
}

void OnFlow(const Napi::CallbackInfo& info) {
  holdfast::OnFlow(info[0].As<Napi::Number>().Uint32Value(), Notifier(info, 1, "holdfast-flows"));
}

Napi::Value StartRelay(const Napi::CallbackInfo& info) {
  uint64_t relay = 0;
  ThrowIfFailed(info.Env(),
                holdfast::StartRelay(info[0].As<Napi::Number>().Int32Value(),
                                     info[1].As<Napi::Number>().Int32Value(), In(info.Env()).get(),
                                     Notifier(info, 2, "holdfast-relay"), &relay));
  return Napi::Number::New(info.Env(), static_cast<double>(relay));
}

void ResetRelay(const Napi::CallbackInfo& info) {
  holdfast::ResetRelay(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
}

Napi::Value TakeFlows(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto flows = holdfast::TakeFlows(info[0].As<Napi::Number>().Uint32Value());
  Napi::Array result = Napi::Array::New(env, flows.size());
  for (uint32_t i = 0; i < flows.size(); i++) {
    holdfast::Flow& flow = flows[i];
    Napi::Object item = Napi::Object::New(env);
    item.Set("socket", flow.socket.Release());
    item.Set("address", flow.address);
    item.Set("port", static_cast<uint32_t>(flow.port));
    item.Set("pid", flow.pid);
    item.Set("program", env.Null());
    if (flow.program.known) {
      holdfast::Program& program = flow.program;
      Napi::Object made = Napi::Object::New(env);
      made.Set("path", program.path);
      made.Set("state", std::to_string(program.device) + ":" + std::to_string(program.inode) + ":" +
                            std::to_string(program.changed_ns));
      made.Set("links", static_cast<double>(program.links));
      made.Set("isReadOnly", program.read_only);
      made.Set("hasForeignCode", program.foreign_code);
      made.Set("script", program.ancestry.script);
      Napi::Array ancestors = Napi::Array::New(env);
      for (const std::string& ancestor : program.ancestry.ancestors)
        ancestors.Set(ancestors.Length(), ancestor);
      made.Set("ancestors", ancestors);
      made.Set("file", program.file.Release());
      item.Set("program", made);
    }
    result.Set(i, item);
  }
  return result;
}

Napi::Value TakeLimits(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto records = holdfast::TakeLimits(info[0].As<Napi::Number>().Uint32Value());
  Napi::Array result = Napi::Array::New(env, records.size());
  for (uint32_t i = 0; i < records.size(); i++) {
    Napi::Array sessions = Napi::Array::New(env, records[i].sessions.size());
    for (uint32_t j = 0; j < records[i].sessions.size(); j++)
      sessions.Set(j, records[i].sessions[j]);
    Napi::Object item = Napi::Object::New(env);
    item.Set("kind", static_cast<uint32_t>(records[i].kind));
    item.Set("sessions", sessions);
    result.Set(i, item);
  }
  return result;
}

void Unwatch(const Napi::CallbackInfo& info) {
  holdfast::UnwatchListener(info[0].As<Napi::Number>().Uint32Value());
}

Napi::Value StartReaper(const Napi::CallbackInfo& info) {
  struct Fd {
    holdfast::UniqueFd fd;
  };
  std::string init_file = info[0].As<Napi::String>();
  return Run<Fd>(
      holdfast::OnLauncherThread, info.Env(),
      [init_file](Fd* result) { return holdfast::StartReaper(init_file, &result->fd); },
      [](Napi::Env env, Fd* result) -> Napi::Value {
        return Napi::Number::New(env, result->fd.Release());
      });
}

Napi::Value LookUpHost(const Napi::CallbackInfo& info) {
  std::string name = info[0].As<Napi::String>();
  return Run<holdfast::HostLookup>(
      holdfast::OnLookupThread, info.Env(),
      [name](holdfast::HostLookup* found) { return holdfast::LookUpHost(name, found); },
      [](Napi::Env env, holdfast::HostLookup* found) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("code", found->code);
        result.Set("words", found->words);
        Napi::Array addresses = Napi::Array::New(env, found->addresses.size());
        for (uint32_t i = 0; i < addresses.Length(); i++) addresses.Set(i, found->addresses[i]);
        result.Set("addresses", addresses);
        return result;
      });
}

Napi::Value Probe(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  int error = 0;
  result.Set("landlockAbi", holdfast::LandlockAbi(&error));
  result.Set("landlockErrno", error);
  return result;
}

Napi::Value ProbeClone(const Napi::CallbackInfo& info) {
  return Napi::Number::New(
      info.Env(),
      holdfast::ProbeClone(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value())));
}

Napi::Value ProbeSeccompAction(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(
      info.Env(), holdfast::SeccompActionAvailable(info[0].As<Napi::Number>().Uint32Value()));
}

Napi::Value ProbePidfdGetfd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), holdfast::ProbePidfdGetfd());
}

Napi::Value ProbeMemfdExec(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), holdfast::ProbeMemfdExec());
}

void SetWindowSize(const Napi::CallbackInfo& info) {
  winsize size{};
  size.ws_row = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
  size.ws_col = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
  ioctl(info[0].As<Napi::Number>().Int32Value(), TIOCSWINSZ, &size);
}

// What the terminal is set to, for setTerminal; null when it is none.
Napi::Value GetTerminal(const Napi::CallbackInfo& info) {
  uint8_t settings[holdfast::kTerminalSettings];
  if (holdfast::ReadTerminal(info[0].As<Napi::Number>().Int32Value(), settings) != 0)
    return info.Env().Null();
  return Napi::Buffer<uint8_t>::Copy(info.Env(), settings, sizeof settings);
}

// 0 or the errno.
Napi::Value SetTerminal(const Napi::CallbackInfo& info) {
  auto settings = info[1].As<Napi::Uint8Array>();
  int error = EINVAL;
  if (settings.ByteLength() == holdfast::kTerminalSettings)
    error = holdfast::SetTerminal(info[0].As<Napi::Number>().Int32Value(), settings.Data(),
                                  info[2].As<Napi::Boolean>());
  return Napi::Number::New(info.Env(), error);
}

Napi::Value InForeground(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(),
                            holdfast::InForeground(info[0].As<Napi::Number>().Int32Value()));
}

// [rows, columns], null when it is no terminal.
Napi::Value WindowSize(const Napi::CallbackInfo& info) {
  uint16_t rows = 0;
  uint16_t columns = 0;
  if (!holdfast::ReadWindowSize(info[0].As<Napi::Number>().Int32Value(), &rows, &columns))
    return info.Env().Null();
  Napi::Array size = Napi::Array::New(info.Env(), 2);
  size.Set(0u, rows);
  size.Set(1u, columns);
  return size;
}

// SO_PEERCRED of a connected Unix socket: who is at the other end (unix(7)).
Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(info[0].As<Napi::Number>().Int32Value(), SOL_SOCKET, SO_PEERCRED, &peer, &size) !=
      0)
    return env.Null();
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", peer.pid);
  result.Set("uid", peer.uid);
  result.Set("gid", peer.gid);
  return result;
}

Napi::Value ConnectLoopback(const Napi::CallbackInfo& info) {
  int fd = info[0].As<Napi::Number>().Int32Value();
  auto port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
  uint32_t broker = info[2].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), broker == 0 ? holdfast::ConnectLoopback(fd, port)
                                                   : holdfast::ConnectServer(broker, fd, port));
}

Napi::Value WithoutTickets(const Napi::CallbackInfo& info) {
  holdfast::MadeTlsContext made;
  Napi::Value result = info[0].As<Napi::Function>().Call({});
  made.StopTickets();
  return result;
}

// A path need not be UTF-8: a Buffer is taken byte by byte.
std::string ToPath(const Napi::Value& value) {
  if (!value.IsBuffer()) return value.As<Napi::String>();
  auto bytes = value.As<Napi::Buffer<char>>();
  return std::string(bytes.Data(), bytes.Length());
}

// lgetxattr(2); null when the attribute is not there or cannot be read.
Napi::Value GetXattr(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = ToPath(info[0]);
  std::string name = info[1].As<Napi::String>();
  static thread_local char value[XATTR_SIZE_MAX];
  ssize_t size = lgetxattr(path.c_str(), name.c_str(), value, sizeof value);
  if (size < 0) return env.Null();
  return Napi::Buffer<char>::Copy(env, value, static_cast<size_t>(size));
}

// lsetxattr(2); 0 or the errno.
Napi::Value SetXattr(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0]);
  std::string name = info[1].As<Napi::String>();
  auto value = info[2].As<Napi::Buffer<char>>();
  int error =
      lsetxattr(path.c_str(), name.c_str(), value.Data(), value.Length(), 0) == 0 ? 0 : errno;
  return Napi::Number::New(info.Env(), error);
}

// Reads a stream on a thread of its own and hands on what comes; null at the end. For runtimes
// whose net.Socket does not take a descriptor (Bun). The thread ends with the stream; the
// descriptor is the caller's to close after that.
void WatchEvents(const Napi::CallbackInfo& info) {
  int fd = info[0].As<Napi::Number>().Int32Value();
  auto listener = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(),
                                                "holdfast-events", 0, 1);
  bool started = holdfast::StartThread([fd, listener, home = In(info.Env())]() mutable {
    holdfast::BlockSignals();
    for (bool end = false; !end;) {
      auto chunk = std::make_unique<std::vector<char>>(4096);
      ssize_t size;
      do {
        pollfd source{fd, POLLIN, 0};
        poll(&source, 1, -1);
        size = read(fd, chunk->data(), chunk->size());
      } while (size < 0 && (errno == EINTR || errno == EAGAIN));
      end = size <= 0;
      chunk->resize(end ? 0 : static_cast<size_t>(size));
      auto hand = [](Napi::Env env, Napi::Function function, std::vector<char>* data) {
        std::unique_ptr<std::vector<char>> owned(data);
        if (env == nullptr) return;  // the runtime is shutting down
        Napi::Value value = env.Null();
        if (!owned->empty()) value = Napi::Buffer<char>::Copy(env, owned->data(), owned->size());
        function.Call({value});
      };
      bool open = home->WhileOpen([&] {
        if (listener.BlockingCall(chunk.get(), hand) == napi_ok)
          static_cast<void>(chunk.release());
        else
          end = true;
        if (end) listener.Release();
      });
      end = end || !open;
    }
  });
  if (started) return;
  listener.Release();
  ThrowIfFailed(info.Env(), Status::Failed("exec", "pthread_create", EAGAIN));
}

void Close(const Napi::CallbackInfo& info) {
  int fd = info[0].As<Napi::Number>().Int32Value();
  holdfast::DropPackets(fd);
  close(fd);
}

Napi::Value Write(const Napi::CallbackInfo& info) {
  int fd = info[0].As<Napi::Number>().Int32Value();
  auto data = info[1].As<Napi::Uint8Array>();
  int64_t position = info[2].As<Napi::Number>().Int64Value();
  ssize_t size;
  do {
    size = position < 0 ? write(fd, data.Data(), data.ByteLength())
                        : pwrite(fd, data.Data(), data.ByteLength(), position);
  } while (size < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(), static_cast<double>(size < 0 ? -errno : size));
}

Napi::Value Peek(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  auto data = info[1].As<Napi::Uint8Array>();
  ssize_t size;
  do {
    size = recv(fd, data.Data(), data.ByteLength(), MSG_PEEK | MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(), static_cast<double>(size < 0 ? -errno : size));
}

Napi::Value Random(const Napi::CallbackInfo& info) {
  auto buffer = Napi::Buffer<uint8_t>::New(info.Env(), info[0].As<Napi::Number>().Uint32Value());
  // Up to 256 bytes come whole once the kernel's generator is ready (getrandom(2)).
  if (buffer.Length() > 256 ||
      getrandom(buffer.Data(), buffer.Length(), 0) != static_cast<ssize_t>(buffer.Length()))
    throw Napi::Error::New(info.Env(), "getrandom");
  return buffer;
}

Napi::Value ListenUnix(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>().Utf8Value();
  holdfast::UniqueFd fd;
  int error = holdfast::ListenUnix(path, &fd);
  return Napi::Number::New(info.Env(), error == 0 ? fd.Release() : -error);
}

// One non-blocking read of what is there: a Buffer, null at the end, undefined when nothing is
// there yet.
Napi::Value ReadNow(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  static thread_local char buffer[65536];
  ssize_t size;
  do {
    size = read(info[0].As<Napi::Number>().Int32Value(), buffer, sizeof buffer);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return env.Null();
  if (size < 0) return errno == EAGAIN ? env.Undefined() : env.Null();
  return Napi::Buffer<char>::Copy(env, buffer, static_cast<size_t>(size));
}

// Paths may be in any encoding: they come as Buffers.
Napi::Value FindRepositories(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto most = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
  bool lossless = false;
  int64_t since = info[2].As<Napi::BigInt>().Int64Value(&lossless);
  holdfast::Repositories repositories = holdfast::FindRepositories(ToPath(info[0]), most, since);
  Napi::Array found = Napi::Array::New(env, repositories.found.size());
  for (uint32_t i = 0; i < repositories.found.size(); i++) {
    const holdfast::Repository& repository = repositories.found[i];
    Napi::Object item = Napi::Object::New(env);
    item.Set("path", Napi::Buffer<char>::Copy(env, repository.path.data(), repository.path.size()));
    item.Set("bare", repository.bare);
    found.Set(i, item);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("found", found);
  result.Set("complete", repositories.complete);
  Napi::Array opened = Napi::Array::New(env, repositories.opened.size());
  for (uint32_t i = 0; i < repositories.opened.size(); i++) {
    const auto& [path, mode] = repositories.opened[i];
    Napi::Object item = Napi::Object::New(env);
    item.Set("path", Napi::Buffer<char>::Copy(env, path.data(), path.size()));
    item.Set("mode", mode);
    opened.Set(i, item);
  }
  result.Set("opened", opened);
  return result;
}

Napi::Value FindNames(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::set<uint64_t> inodes;
  auto wanted = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < wanted.Length(); i++) {
    bool lossless = false;
    inodes.insert(wanted.Get(i).As<Napi::BigInt>().Uint64Value(&lossless));
  }
  auto most = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  std::vector<std::string> names = holdfast::FindNames(ToPath(info[0]), inodes, most);
  Napi::Array found = Napi::Array::New(env, names.size());
  for (uint32_t i = 0; i < names.size(); i++)
    found.Set(i, Napi::Buffer<char>::Copy(env, names[i].data(), names[i].size()));
  return found;
}

// A Buffer over memory that is wiped and given back when it is collected.
Napi::Value SecretBuffer(const Napi::CallbackInfo& info) {
  auto memory = std::make_unique<holdfast::LockedMemory>();
  ThrowIfFailed(info.Env(), memory->Allocate(info[0].As<Napi::Number>().Uint32Value()));
  holdfast::LockedMemory* owned = memory.release();
  return Napi::Buffer<uint8_t>::New(
      info.Env(), owned->Data(), owned->Size(),
      [](Napi::Env, uint8_t*, holdfast::LockedMemory* owner) { delete owner; }, owned);
}

std::vector<holdfast::View> Views(const Napi::Value& value) {
  auto array = value.As<Napi::Array>();
  std::vector<holdfast::View> views;
  for (uint32_t i = 0; i < array.Length(); i++) {
    auto bytes = array.Get(i).As<Napi::Uint8Array>();
    views.emplace_back(bytes.Data(), bytes.ByteLength());
  }
  return views;
}

Napi::Value PrepareSearch(const Napi::CallbackInfo& info) {
  auto search = std::make_unique<holdfast::FormSearch>();
  ThrowIfFailed(info.Env(),
                search->Prepare(Views(info[0]), Views(info[1]), info[2].As<Napi::Boolean>()));
  return Napi::External<holdfast::FormSearch>::New(
      info.Env(), search.release(), [](Napi::Env, holdfast::FormSearch* owned) { delete owned; });
}

// Where what is found nothing of has begun, as a number; else an array with that first.
Napi::Value Search(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto data = info[1].As<Napi::Uint8Array>();
  std::vector<holdfast::FormSearch::Found> found;
  size_t begun = info[0].As<Napi::External<holdfast::FormSearch>>().Data()->Find(
      data.Data(), data.ByteLength(), info[2].As<Napi::Boolean>(), &found);
  if (found.empty()) return Napi::Number::New(env, static_cast<double>(begun));
  Napi::Array result = Napi::Array::New(env, found.size() * 4 + 1);
  result.Set(uint32_t{0}, static_cast<double>(begun));
  uint32_t i = 1;
  for (const auto& each : found) {
    result.Set(i++, each.secret);
    result.Set(i++, static_cast<uint32_t>(each.form));
    result.Set(i++, static_cast<double>(each.at));
    result.Set(i++, static_cast<double>(each.end));
  }
  return result;
}

Napi::Value WipeSearch(const Napi::CallbackInfo& info) {
  info[0].As<Napi::External<holdfast::FormSearch>>().Data()->Wipe();
  return info.Env().Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* home = new EnvironmentRef(std::make_shared<Environment>());
  env.SetInstanceData(home);
  napi_add_env_cleanup_hook(
      env, [](void* data) { (*static_cast<EnvironmentRef*>(data))->Close(); }, home);
  const struct {
    const char* name;
    Napi::Value (*function)(const Napi::CallbackInfo&);
  } functions[] = {
      {"ready",              Ready             },
      {"begin",              Begin             },
      {"launch",             Launch            },
      {"waitExit",           WaitExit          },
      {"kill",               Kill              },
      {"exec",               Exec              },
      {"receive",            Receive           },
      {"takeDenials",        TakeDenials       },
      {"startReaper",        StartReaper       },
      {"lookUpHost",         LookUpHost        },
      {"probe",              Probe             },
      {"probeClone",         ProbeClone        },
      {"probeSeccompAction", ProbeSeccompAction},
      {"probePidfdGetfd",    ProbePidfdGetfd   },
      {"probeMemfdExec",     ProbeMemfdExec    },
      {"peerCredentials",    PeerCredentials   },
      {"connectLoopback",    ConnectLoopback   },
      {"getTerminal",        GetTerminal       },
      {"setTerminal",        SetTerminal       },
      {"inForeground",       InForeground      },
      {"windowSize",         WindowSize        },
      {"takeLimits",         TakeLimits        },
      {"takeFlows",          TakeFlows         },
      {"startRelay",         StartRelay        },
      {"getXattr",           GetXattr          },
      {"setXattr",           SetXattr          },
      {"readNow",            ReadNow           },
      {"random",             Random            },
      {"secretBuffer",       SecretBuffer      },
      {"prepareSearch",      PrepareSearch     },
      {"search",             Search            },
      {"wipeSearch",         WipeSearch        },
      {"write",              Write             },
      {"peek",               Peek              },
      {"listenUnix",         ListenUnix        },
      {"findRepositories",   FindRepositories  },
      {"findNames",          FindNames         },
      {"withoutTickets",     WithoutTickets    },
  };
  for (const auto& item : functions)
    exports.Set(item.name, Napi::Function::New(env, item.function, item.name));
  exports.Set("request", Napi::Function::New(env, Request, "request"));
  exports.Set("watchEvents", Napi::Function::New(env, WatchEvents, "watchEvents"));
  exports.Set("abandon", Napi::Function::New(env, Abandon, "abandon"));
  exports.Set("close", Napi::Function::New(env, Close, "close"));
  exports.Set("unwatch", Napi::Function::New(env, Unwatch, "unwatch"));
  exports.Set("onLimitReached", Napi::Function::New(env, OnLimitReached, "onLimitReached"));
  exports.Set("resetRelay", Napi::Function::New(env, ResetRelay, "resetRelay"));
  exports.Set("onFlow", Napi::Function::New(env, OnFlow, "onFlow"));
  exports.Set("setWindowSize", Napi::Function::New(env, SetWindowSize, "setWindowSize"));
  return exports;
}

}  // namespace

NODE_API_MODULE(holdfast, Init)
