#include "triax/base/shared_library.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace triax {

SharedLibrary::SharedLibrary(const std::string& file, const std::string& folder, const std::string& remedy)
    : file_(file), handle_(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) handle_ = dlopen((folder + "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle_) missing_ = fmt::format("{} cannot be loaded ({}){}", file, dlerror(), remedy);
}

void* SharedLibrary::address(const char* name) {
  if (!handle_) return nullptr;
  void* found = dlsym(handle_, name);
  if (!found) missing_ = fmt::format("{} has no {}", file_, name);
  return found;
}

}  // namespace triax
