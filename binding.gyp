{
  # The shipping build (node-gyp, prebuildify). CMakeLists.txt is the development build of the same sources; a test holds
  # the two lists equal.
  "variables": {
    "warnings": ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"],
    "hardening": ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"],
    "hardened_link": ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]
  },
  "target_defaults": {
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    "cflags": ["<@(warnings)", "<@(hardening)", "-O2", "-fvisibility=hidden"],
    "cflags_cc": ["-std=c++17"],
    "ldflags": ["<@(hardened_link)"],
    "conditions": [["target_arch=='x64'", {"cflags": ["-fcf-protection=full"]}]]
  },
  "targets": [
    {
      # Pid 1 of a sandbox: nothing of the host is there to link with.
      "target_name": "holdfast_init",
      "type": "executable",
      "sources": ["<!@(node -p \"require('fs').readdirSync('native/init').filter(n=>n.endsWith('.cc')).sort().map(n=>'native/init/'+n).join(' ')\")"],
      "include_dirs": ["native"],
      "cflags!": ["-fPIC", "-pthread"],
      "ldflags!": ["-rdynamic", "-pthread"],
      # It brings the few functions of a C library that it uses (native/init/libc.cc).
      "cflags": ["-fno-pie", "-ffunction-sections", "-fdata-sections", "-U_FORTIFY_SOURCE"],
      "cflags_cc": ["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
      "conditions": [["target_arch=='x64'", {"cflags": ["-mstack-protector-guard=global"]}]],
      "ldflags": ["-nostdlib", "-static", "-no-pie", "-s", "-Wl,--gc-sections"]
    },
    {
      "target_name": "holdfast",
      "type": "loadable_module",
      "dependencies": ["holdfast_init"],
      "sources": ["<!@(node -p \"require('fs').readdirSync('native').filter(n=>n.endsWith('.cc')).sort().map(n=>'native/'+n).join(' ')\")"],
      "include_dirs": ["native"],
      "defines": [
        # Node 20.3 and newer, Bun and Deno; left out, the builder's own level would be compiled in.
        "NAPI_VERSION=9",
        "NAPI_CPP_EXCEPTIONS",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "cflags": ["-fPIC", "-pthread", "-isystem", "<!(node -p \"require('path').resolve(require('node-addon-api').include_dir)\")"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
      "cflags_cc": ["-fexceptions"],
      # nodelete: its threads outlive the worker thread that loaded it.
      "ldflags": ["-pthread", "-Wl,-z,nodelete", "-Wl,--version-script=<(module_root_dir)/native/exports.map"],
      "actions": [
        {
          # Assembled anew whenever the init is: .incbin is not a dependency that make can see.
          "action_name": "init_image",
          "inputs": ["native/init_image.S", "<(PRODUCT_DIR)/holdfast_init"],
          "outputs": ["<(INTERMEDIATE_DIR)/init_image.S"],
          "action": [
            "sed", "-n",
            "-e", "/incbin/s|HOLDFAST_INIT_IMAGE|\"<(PRODUCT_DIR)/holdfast_init\"|",
            "-e", "w<(INTERMEDIATE_DIR)/init_image.S",
            "native/init_image.S"
          ],
          "process_outputs_as_sources": 1
        }
      ]
    }
  ]
}
