# Both programs as one Nix package: `nix-build -E 'with import <nixpkgs> { }; callPackage ./packaging/nix/package.nix { }'`.
# Tried: `nix-instantiate --parse`, by the tests. Not tried: a build; Debian's archive has no nixpkgs.
{
  lib,
  rustPlatform,
  pkg-config,
  libmnl,
  libnftnl,
}:

rustPlatform.buildRustPackage {
  pname = "airpods";
  version = "0.1.0";

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  nativeBuildInputs = [ pkg-config ];
  buildInputs = [
    libmnl
    libnftnl
  ];

  # The tests make namespaces, which the sandbox of a build does not allow; `make check` is for a checkout.
  doCheck = false;

  # As `make build PROFILE=release AUDITABLE=` does: each program by itself, so that neither has the other's features.
  buildPhase = ''
    runHook preBuild
    make build PROFILE=release AUDITABLE= SHELL=$SHELL
    runHook postBuild
  '';

  # Nothing is installed outside the package: the module beside this file tells NixOS where the files for D-Bus, polkit and
  # systemd are.
  installPhase = ''
    runHook preInstall
    make install PREFIX=$out SYSTEM=$out
    runHook postInstall
  '';

  meta = {
    description = "Local AI services in podman containers that work behind a VPN";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "airpods";
    platforms = lib.platforms.linux;
  };
}
