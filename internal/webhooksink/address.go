package webhooksink

import (
	"errors"
	"net/netip"
	"syscall"
)

// errNotPublic says that the URL leads to an address to which no message is sent.
var errNotPublic = errors.New("the URL leads to an address that is not public; set WEBHOOK_SINK_ALLOW_PRIVATE=true if that is intended")

// publicV6 is the part of IPv6 that is assigned for global unicast. Everything else is not public: loopback, link-local and unique local
// addresses, multicast, and IPv4 addresses in IPv6 (mapped, compatible, NAT64).
var publicV6 = netip.MustParsePrefix("2000::/3")

// special are networks that are not on the public internet, or lead to an address in another form (IANA's registries of
// special-purpose addresses), and addresses of the clouds' metadata services that are in none of them.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this network
	netip.MustParsePrefix("10.0.0.0/8"),       // private
	netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT, and the metadata service of Alibaba Cloud
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback
	netip.MustParsePrefix("168.63.129.16/32"), // the platform service of Azure
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local, and the metadata services of most clouds
	netip.MustParsePrefix("172.16.0.0/12"),    // private
	netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments, and the metadata service of Oracle Cloud
	netip.MustParsePrefix("192.0.2.0/24"),     // documentation
	netip.MustParsePrefix("192.88.99.0/24"),   // relays of 6to4
	netip.MustParsePrefix("192.168.0.0/16"),   // private
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"),  // documentation
	netip.MustParsePrefix("203.0.113.0/24"),   // documentation
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, and broadcast
	netip.MustParsePrefix("2001::/23"),        // protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),    // documentation
	netip.MustParsePrefix("2002::/16"),        // 6to4, with an IPv4 address in it
	netip.MustParsePrefix("3fff::/20"),        // documentation
}

// publicOnly refuses to connect to an address that is not public. The dialer calls it with the address that it connects to, after the
// name was resolved, so a name cannot lead to one address when it is checked and to another one afterwards.
func publicOnly(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(target.Addr()) {
		return errNotPublic
	}
	return nil
}

func isPublic(addr netip.Addr) bool {
	if addr.Zone() != "" || addr.Is6() && !publicV6.Contains(addr) {
		return false
	}
	for _, network := range special {
		if network.Contains(addr) {
			return false
		}
	}
	return addr.IsValid()
}
