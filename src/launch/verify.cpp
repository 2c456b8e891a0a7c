#include <iostream>

#include "checkpoint/verify.h"
#include "launch/command.h"
#include "launch/verify_export.h"
#include "launch/verify_mesh.h"
#include "launch/verify_rollouts.h"

namespace phalanx::launch {

namespace {

const bool verify_registered = register_command(
    {"verify", "Checks a mesh, a checkpoint, what is sampled, or two models against each other",
     [](CLI::App& app) {
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
       auto mesh = std::make_shared<VerifyMeshArguments>();
       CLI::App* meshes = app.add_subcommand(
           "mesh",
           "First steps of CONFIG on one rank and on meshes of several: losses, gradients, weights by name");
       meshes->add_option("config", mesh->config, "YAML file")->required();
       meshes->add_option("--mesh", mesh->meshes,
                          "dp=2,tp=2,zero=3,sp ...; may be repeated; default: all that fit");
       meshes->add_option("--ranks", mesh->max_ranks, "Without --mesh: up to so many ranks (threads)")
           ->check(CLI::Range(2, 64))
           ->capture_default_str();
       meshes->add_option("--steps", mesh->steps, "Optimizer steps of each run")
           ->check(CLI::Range(1, 1000))
           ->capture_default_str();
       add_set_option(*meshes, mesh->sets);
       CLI::App* rollouts = app.add_subcommand(
           "rollouts",
           "Log-probabilities of MODEL's answers (prompts: JSONL on stdin) against those of a training step");
       const std::function<int()> run_verify_rollouts = declare_verify_rollouts(*rollouts);
       return [=] {
         if (rollouts->parsed()) return run_verify_rollouts();
         if (meshes->parsed()) return run_verify_mesh(*mesh);
         if (exported->parsed()) return run_verify_export(*a, *b, *sets);
         checkpoint::verify_command(*path, std::cout);
         return 0;
       };
     }});

}  // namespace
}  // namespace phalanx::launch
