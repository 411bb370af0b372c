// A library that is loaded when it is wanted, so that the program starts where it is not installed.
#pragma once

#include <string>

namespace triax {

class SharedLibrary {
 public:
  // `file` as the system finds it, else in `folder`; it stays loaded. `remedy` ends the sentence that says why it cannot be.
  SharedLibrary(const std::string& file, const std::string& folder, const std::string& remedy = "");

  // The function of that name; null where the library or the function is missing.
  template <typename Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(address(name));
  }
  // What is, of all that was looked for; empty: nothing.
  const std::string& missing() const { return missing_; }

 private:
  void* address(const char* name);

  std::string file_, missing_;
  void* handle_;
};

}  // namespace triax
