# The hash on the second line of the input if it is one of the password on the first, or else a new one. By crypt(3) of libxcrypt, which
# every Debian has; perl-base is essential there.
chomp(my ($password, $hash) = <STDIN>);
if (!$hash || (crypt($password, $hash) // "") ne $hash) {
    my @letters = (".", "/", "A" .. "Z", "a" .. "z", "0" .. "9");
    open(my $random, "<:raw", "/dev/urandom") or die;
    read($random, my $bytes, 22) == 22 or die;
    my @salt = map { $letters[ord($_) & 63] } split(//, $bytes);
    # 128 bits are 21 letters and two bits.
    $salt[21] = (".", "O", "e", "u")[ord(substr($bytes, 21)) & 3];
    $hash = crypt($password, "\$2b\$10\$" . join("", @salt));
}
print $hash;
