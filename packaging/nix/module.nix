# The helper as a NixOS module: `services.airpods.enable = true;`.
# Tried: `nix-instantiate --parse`, by the tests. Not tried: a NixOS with it.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.airpods;
in
{
  options.services.airpods = {
    enable = lib.mkEnableOption "airpods and its helper, which clamps VPN links";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      description = "The package to use.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    security.polkit.enable = true;
    services.dbus.packages = [ cfg.package ];
    systemd.packages = [ cfg.package ];
    # NixOS ignores presets and [Install] sections.
    systemd.services.airpods-restore.wantedBy = [ "multi-user.target" ];
    users.users.airpods-helper = {
      isSystemUser = true;
      group = "airpods-helper";
      description = "MSS clamps of airpods";
    };
    users.groups.airpods-helper = { };
  };
}
