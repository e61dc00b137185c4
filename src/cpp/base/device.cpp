#include "base/device.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "base/error.hpp"

namespace hanse {

namespace {

constexpr const char* plugin_file = "libhanse_cuda.so";

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::no_device, "device", reason);
}

std::string plugin_path() {
  if (const char* forced = std::getenv("HANSE_CUDA_PLUGIN"); forced != nullptr && *forced != '\0') {
    if (!std::filesystem::exists(forced))
      refuse(std::string("HANSE_CUDA_PLUGIN names ") + forced + ", which is not there");
    return forced;
  }
  Dl_info module{};
  if (dladdr(reinterpret_cast<const void*>(&device_table), &module) == 0 ||
      module.dli_fname == nullptr)
    refuse("this module's folder is unknown, so the plug-in can't be found");
  const std::filesystem::path folder = std::filesystem::absolute(module.dli_fname).parent_path();
  // The C library lies in a folder below the package that holds the plug-in.
  for (const auto& path : {folder / plugin_file, folder.parent_path() / plugin_file})
    if (std::filesystem::exists(path)) return path.string();
  refuse(std::string("the plug-in is not built: no ") + plugin_file + " in " + folder.string());
}

const DeviceTable& load_plugin(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) refuse(std::string("the plug-in does not load: ") + dlerror());
  const auto get = reinterpret_cast<DeviceTableFunction>(dlsym(library, device_table_symbol));
  if (get == nullptr) {
    dlclose(library);
    refuse(path + " is no plug-in of hanse: it lacks " + device_table_symbol);
  }
  const DeviceTable& table = *get();
  if (table.abi_version != device_abi_version || table.size_bytes != sizeof(DeviceTable)) {
    const std::string found = std::to_string(table.abi_version);
    dlclose(library);
    refuse("the plug-in speaks ABI " + found + ", this module ABI " +
           std::to_string(device_abi_version));
  }
  return table;  // stays loaded: what runs on the device may outlive any caller
}

}  // namespace

const DeviceTable& device_table() {
  static std::mutex mutex;
  static const DeviceTable* loaded = nullptr;
  static std::string loaded_path;

  const std::string path = plugin_path();
  std::lock_guard lock(mutex);
  if (loaded == nullptr || loaded_path != path) {
    loaded = &load_plugin(path);
    loaded_path = path;
  }
  int32_t count = 0;
  if (const int32_t code = loaded->device_count(&count); code != 0)
    refuse(std::string("the plug-in is loaded, but there is no CUDA driver or device: ") +
           loaded->error_name(code));
  if (count == 0) refuse("the plug-in is loaded, but the CUDA driver knows no device");
  return *loaded;
}

void check_device(const DeviceTable& table, const char* what, int32_t code) {
  if (code != 0) throw Error(ErrorCode::device_failed, what, table.error_name(code));
}

std::string device_status() {
  try {
    const DeviceTable& table = device_table();
    char text[256];
    check_device(table, "device_text", table.device_text(0, text, sizeof(text)));
    return text;
  } catch (const Error& error) {
    return std::string(error_code_info(error.code()).name) + ": " + error.detail();
  }
}

}  // namespace hanse
