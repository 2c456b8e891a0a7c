#include <iostream>

#include "checkpoint/verify.h"
#include "launch/command.h"

namespace phalanx::launch {

int run_verify_export(const std::string& a, const std::string& b,
                      const std::vector<std::string>& sets);  // convert.cpp

namespace {

const bool registered = register_command(
    {"verify", "Checks a checkpoint, or two models against each other", [](CLI::App& app) {
       auto path = std::make_shared<std::string>(), a = std::make_shared<std::string>(),
            b = std::make_shared<std::string>();
       auto sets = std::make_shared<std::vector<std::string>>();
       app.require_subcommand(1);
       CLI::App* checkpoint =
           app.add_subcommand("checkpoint", "Every byte of every checkpoint in PATH against its manifest");
       checkpoint->add_option("path", *path, "Run, checkpoints folder or one step")->required();
       CLI::App* exported =
           app.add_subcommand("export", "Log-probabilities of model B against model A on built-in texts");
       exported->add_option("a", *a, "The source")->required();
       exported->add_option("b", *b, "What was made from it")->required();
       add_set_option(*exported, *sets);
       return [=] {
         if (exported->parsed()) return run_verify_export(*a, *b, *sets);
         checkpoint::verify_command(*path, std::cout);
         return 0;
       };
     }});

}  // namespace
}  // namespace phalanx::launch
